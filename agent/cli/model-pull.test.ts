/** `mesh model-pull` from a local server that speaks the hub's API. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test, type TestContext } from 'node:test'
import { openHome } from '../../shared/home.ts'
import { afterwards, temporaryFolder } from '../../test/support/homes.ts'
import { eventually, meshHere } from '../../test/support/processes.ts'
import { findEntry } from '../library/library.ts'
import { type LocalHub, startLocalHub } from '../library/test/local-hub.ts'
import { bundledFolder } from './ring-join.ts'

const repo = 'owner/story'
const story = join(bundledFolder, 'tiny-story')
const files = new Map(
  readdirSync(story)
    .filter((name) => /\.(json|jinja|safetensors)$/.test(name))
    .map((name): [string, Buffer] => [name, readFileSync(join(story, name))]),
)
const weights = 'model.safetensors'

const start = async (t: TestContext): Promise<{ hub: LocalHub; home: string }> => {
  const hub = await startLocalHub(repo, files)
  afterwards(t, () => hub.close())
  return { hub, home: join(temporaryFolder(t), 'home') }
}

const pull = async (
  { hub, home }: { hub: LocalHub; home: string },
  ...args: string[]
): Promise<{ code: number | null; error?: { code: string; hint: string } }> => {
  const { code, stdout } = await meshHere(['model-pull', repo, '--hub', hub.url, ...args, '--json'], home)
  return { code, ...(JSON.parse(stdout) as object) }
}

const checkWhole = (home: string): void => {
  const entry = findEntry(openHome(home), repo)
  assert.ok(entry?.source)
  for (const { path } of entry.source.files)
    assert.ok(readFileSync(join(entry.path, path)).equals(files.get(path) as Buffer), path)
}

test('model-pull: redirects, a token, cuts and a busy hub; and it is a model of the library', async (t) => {
  const { hub, home } = await start(t)
  Object.assign(hub.faults, {
    token: 'secret',
    cut: { after: 300_000, times: 3 },
    status: { code: 503, times: 1 },
  } satisfies LocalHub['faults'])
  assert.equal((await pull({ hub, home }, '--hub-token', 'secret')).code, 0)
  checkWhole(home)
  assert.deepEqual(hub.leaked, [], 'the token stays with the hub')
  const total = [...files.values()].reduce((sum, { length }) => sum + length, 0)
  assert.ok(hub.sent() < total * 1.05, `${hub.sent()} of ${total}`)
  // again: nothing is fetched
  const before = hub.sent()
  assert.equal((await pull({ hub, home }, '--hub-token', 'secret')).code, 0)
  assert.equal(hub.sent(), before)
  assert.match((await meshHere(['model-show', repo], home)).stdout, /^from +http.*owner\/story, main \(c0ffee/m)
  assert.equal((await meshHere(['model-remove', repo], home)).code, 0)
  assert.ok(!existsSync(join(openHome(home).models, repo)))
})

test('model-pull: wrong bytes are fetched anew once, and never kept', async (t) => {
  const place = await start(t)
  place.hub.faults.wrong = { path: weights, times: 100 }
  assert.equal((await pull(place)).error?.code, 'hubBytesWrong')
  assert.equal(findEntry(openHome(place.home), repo), undefined)
  place.hub.faults.wrong = { path: weights, times: 1 }
  assert.equal((await pull(place)).code, 0)
  checkWhole(place.home)
})

test('model-pull: what the hub refuses is told with what to do', async (t) => {
  const place = await start(t)
  for (const [code, name, hint] of [
    [401, 'hubRefused', /HF_TOKEN/],
    [403, 'hubRefused', /terms of the model/],
    [404, 'hubNotFound', /--revision/],
    [429, 'hubBusy', /goes on where it was/],
  ] as const) {
    place.hub.faults.status = { code, times: 1, headers: { 'retry-after': '600' } }
    const { error } = await pull(place)
    assert.deepEqual([error?.code, hint.test(error?.hint ?? '')], [name, true], String(code))
  }
  delete place.hub.faults.status
  assert.equal((await pull(place, '--max-download', '1MB')).error?.code, 'pullTooLarge')
  assert.equal((await pull(place, '--file', 'Q4_K_M')).error?.code, 'hubFilesSeveral')
  assert.equal(place.hub.sent(), 0)
})

test('model-pull: a kill loses less than one piece', async (t) => {
  const { hub, home } = await start(t)
  hub.faults.slow = 4e6
  const main = fileURLToPath(new URL('../main.ts', import.meta.url))
  for (const least of [2e6, 5e6]) {
    const child = spawn(process.execPath, [main, 'model-pull', repo, '--hub', hub.url], {
      env: { ...process.env, MESHNET_HOME: home }, // oxlint-disable-line node/no-process-env -- a program of its own
      stdio: 'ignore',
    })
    await eventually(30_000, 'some of it is there', async () => (hub.sent() > least ? true : undefined))
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  delete hub.faults.slow
  const total = [...files.values()].reduce((sum, { length }) => sum + length, 0)
  assert.equal((await pull({ hub, home })).code, 0)
  checkWhole(home)
  assert.ok(hub.sent() - total < 2 * 8 * 2 ** 20, `${hub.sent() - total} bytes came twice`)
  assert.ok(hub.sent() < 2 * total, 'what was there was not fetched again')
})
