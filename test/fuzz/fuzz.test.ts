/**
 * Everything that reads what others wrote, with cases made from the schemas: nothing crashes, no call takes more than
 * 50 ms of processor, memory stays flat. The same with a million cases: `npm run fuzz -- --cases 1000000`.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { routes } from '../../shared/api/routes.ts'
import { coveredBy, decodes, notOfOthers } from './covered.ts'
import { openTargets, sharesOf } from './all-targets.ts'
import { heldBytes, mostKeptBytes, runCases } from './run-cases.ts'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
/** Of all of them together; each run takes others. */
const cases = 20_000
/** After each of them all targets had their turn; memory is compared between the first and the last. */
const parts = 3
const seed = Date.now() % 2 ** 31

test(
  'fuzz: nothing that others write crashes a reader, takes long or keeps memory',
  { timeout: 300_000 },
  async (t) => {
    const { targets, stop } = await openTargets()
    t.after(stop)
    const seen = new Map<string, Map<string, number>>()
    let [done, longestMs, firstBytes] = [0, 0, 0]
    for (let part = 0; part < parts; part++) {
      for (const [target, count] of sharesOf(targets, cases / parts)) {
        const outcome = await runCases(target, { cases: count, seed: seed + part })
        const before = seen.get(target.name) ?? new Map<string, number>()
        for (const [code, times] of outcome.outcomes) before.set(code, (before.get(code) ?? 0) + times)
        seen.set(target.name, before)
        done += count
        longestMs = Math.max(longestMs, outcome.longestMs)
      }
      if (part === 0) firstBytes = await heldBytes()
    }
    const keptBytes = (await heldBytes()) - firstBytes
    t.diagnostic(
      `${done} cases, seed ${seed}; longest call ${longestMs.toFixed(1)} ms; ` +
        `${(keptBytes / 2 ** 20).toFixed(1)} MiB more held than after the first third`,
    )
    assert.ok(keptBytes < mostKeptBytes, `${keptBytes} bytes more are held, seed ${seed}`)

    const ofRoute = (name: string): ReadonlyMap<string, number> =>
      seen.get(`route ${name}`) ?? new Map<string, number>()
    const refusedByBudget = Object.keys(routes).filter((name) => ofRoute(name).has('tooManyRequests'))
    assert.deepEqual(refusedByBudget, [], 'budgets refuse what should be tried')
    // a socket is none for who asks without one; what goes over it has cases of its own
    const untried = Object.keys(routes).filter((name) => name !== 'agentSocket' && !ofRoute(name).has('taken'))
    assert.deepEqual(untried, [], 'no case got as far as the answer: give arena.ts a body that is taken')
    const neverTaken = targets
      .filter(({ name, isSlow }) => !isSlow && !seen.get(name)?.has('taken') && name !== 'route agentSocket')
      .map(({ name }) => name)
    assert.deepEqual(neverTaken, [], 'all cases are refused: nothing behind the first check is tried')

    const isTarget = (begin: string): boolean => targets.some(({ name }) => name.startsWith(begin))
    for (const [file, begins] of Object.entries(coveredBy))
      assert.deepEqual(
        begins.filter((begin) => !isTarget(begin)),
        [],
        `${file} names cases that are not there`,
      )
  },
)

test('fuzz: every file that decodes has cases, or nobody else writes what it reads', () => {
  const rooms = ['agent', 'control-plane', 'relay-server', 'shared']
  const files = rooms.flatMap((part) =>
    readdirSync(join(root, part), { recursive: true, encoding: 'utf8' }).map(
      (name) => `${part}/${name.replaceAll('\\', '/')}`,
    ),
  )
  const sources = files.filter((file) => file.endsWith('.ts') && !/\.test\.ts$|\/test\/|contract\.ts$/.test(file))
  const decoding = sources.filter((file) => decodes.test(readFileSync(join(root, file), 'utf8')))
  const known = [...Object.keys(coveredBy), ...Object.keys(notOfOthers)]
  assert.deepEqual(
    decoding.filter((file) => !known.includes(file)),
    [],
    'add cases for what they read to test/fuzz, or say in covered.ts why nobody else writes it',
  )
  assert.deepEqual(
    known.filter((file) => !decoding.includes(file)),
    [],
    'they decode no more',
  )
  assert.equal(new Set(known).size, known.length)
})
