/**
 * The first hour of a group, on two machines of a network of their own: from a clone to an answer that is streamed on
 * the second machine. Nothing is typed that was not printed: the first line is in the README, each further one in what
 * the one before it said.
 */
import assert from 'node:assert/strict'
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { pathFromEnvironment } from '../shared/options.ts'
import { filesOf } from './support/checkout.ts'
import { afterwards, temporaryFolder } from './support/homes.ts'
import { createLan, lanImpossible } from './support/lan.ts'
import { eventually, runProgram } from './support/processes.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
/** The machine's own Node and npm: what npm puts in front for its scripts is left out. */
const systemPath = pathFromEnvironment()
  .split(delimiter)
  .filter((folder) => !folder.includes('node_modules'))
  .join(delimiter)

/**
 * The files of a clone, with the dependencies of this one: installing them is what `install.test.ts` and
 * `setup.test.ts` try.
 */
const makeClone = (folder: string): void => {
  for (const file of filesOf(root).filter((name) => existsSync(join(root, name))))
    cpSync(join(root, file), join(folder, file))
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
}

interface Typed {
  readonly stdout: string
  /** Pieces in which it came. */
  readonly pieces: number
}

interface Person {
  /** Types a line in the clone, as it was printed. */
  type(line: string): Promise<Typed>
}

/** Somebody with a machine, a clone and a home folder in which nothing is. */
const person = (folder: string, through: readonly string[]): Person => {
  const [clone, home] = [join(folder, 'meshnet'), join(folder, 'home')]
  mkdirSync(home, { recursive: true })
  makeClone(clone)
  return {
    type: async (line) => {
      let pieces = 0
      const [file, ...args] = [...through, '/bin/sh', '-c', `cd '${clone}' && ${line}`]
      const { code, stdout, stderr } = await runProgram(file, args, {
        home,
        env: { MESHNET_HOME: undefined, HOME: home, PATH: systemPath, MESHNET_THREADS: '1' },
        timeoutMs: 180_000,
        onOutput: () => pieces++,
      })
      assert.equal(code, 0, `${line}\n${stdout}\n${stderr}`)
      return { stdout, pieces }
    },
  }
}

/** The one command line in what was printed that does this. */
const printed = (text: string, verb: string): string => {
  const lines = [...text.matchAll(/(?:npm run --silent mesh --|\bmesh) [^\n;]+/g)].map(([line]) => line.trim())
  const found = [...new Set(lines.filter((line) => new RegExp(`mesh(?: --)? ${verb}\\b`).test(line)))]
  assert.equal(found.length, 1, `one line with ${verb} in:\n${text}`)
  return found[0]
}

/** The commands of the first code block below a heading of the README. */
const readmeBlock = (heading: string): string[] => {
  const text = readFileSync(join(root, 'README.md'), 'utf8')
  const block = /```sh\n([\s\S]*?)```/.exec(text.slice(text.indexOf(`## ${heading}\n`)))?.[1]
  return (block ?? '').trim().split('\n')
}

const twoPeople = (t: TestContext): [Person, Person] => {
  const folder = temporaryFolder(t)
  const [a, b] = createLan(t, ['10.79.0.1/24', '10.79.0.2/24']).map(({ through }, index) =>
    person(join(folder, 'ab'[index]), through),
  )
  for (const one of [a, b]) afterwards(t, () => one.type('npm run --silent mesh -- down'))
  return [a, b]
}

test(
  'first hour: from a clone to a streamed answer on the second machine, by what is printed alone',
  { timeout: 600_000, skip: lanImpossible() },
  async (t) => {
    const [a, b] = twoPeople(t)

    // the README: clone (done), then the demo; it prints what comes next
    const [clone, demo] = readmeBlock('Two commands')
    assert.match(clone, /^git clone /)
    const seen = await a.type(demo)
    const up = printed(seen.stdout, 'up')

    // the first machine: one command; it prints what the others run
    const hosted = await a.type(up)
    const joinLine = printed(hosted.stdout, 'join')
    assert.match(hosted.stdout, /this device serves tiny-story/)

    // the second machine: one line to take part, one to ask
    const joined = await b.type(joinLine)
    const ask = printed(joined.stdout, 'inference')
    assert.equal(ask, printed(hosted.stdout, 'inference'))
    const answer = await b.type(ask)
    assert.ok(answer.stdout.trim().length > 40, answer.stdout)
    assert.ok(answer.pieces > 2, `streamed, not printed at its end: ${answer.pieces} pieces`)

    // both compute, though nobody said so: asked again, the ring of two answers
    await eventually(60_000, 'the ring has both devices', async () => {
      const { stdout } = await b.type('npm run --silent mesh -- ring-status --json')
      const [ring] = JSON.parse(stdout) as { status: string; world_size: number }[]
      return ring?.status === 'active' && ring.world_size === 2 ? true : undefined
    })
    assert.ok((await b.type(ask)).stdout.length > 40)

    // typed twice, the printed lines do no harm; what they said to end it ends it
    const again = await a.type(up)
    assert.equal(printed(again.stdout, 'join'), joinLine)
    assert.match((await b.type(joinLine)).stdout, /its agent runs already/)
    for (const [one, said] of [
      [b, joined],
      [a, hosted],
    ] as const)
      assert.match(
        (await one.type(printed(said.stdout.replaceAll(/ ends (?:it|them)/g, ';'), 'down'))).stdout,
        /^stopped /,
      )
  },
)
