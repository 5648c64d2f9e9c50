/** Runs the tests of a module with one change at a time, in a copy of the tree. */
import { spawn } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { environmentFor } from '../../shared/options.ts'
import { applied, type Change } from './changes.ts'

/** A module, and patterns of its tests: the nearest first, those that are asked only about what these miss after. */
export interface Module {
  readonly source: string
  readonly tests: readonly (readonly string[])[]
}

/** A change that no test can notice, because the module does the same. */
export interface SameMeaning {
  readonly file: string
  readonly from: string
  readonly to: string
  readonly reason: string
}

export interface Outcome {
  readonly source: string
  readonly noticed: number
  /** Changes that were tried, without those that mean the same. */
  readonly tried: number
  readonly survivors: readonly Change[]
}

/** A copy of the tree that one runner may change. */
export interface Copy {
  readonly root: string
  remove(): void
}

/** Copies these files into a temporary folder; `node_modules` by link. Files that are gone meanwhile are left out. */
export const copyTree = (root: string, files: readonly string[]): Copy => {
  const copy = mkdtempSync(join(tmpdir(), 'mesh-mutation-'))
  for (const file of files) {
    mkdirSync(dirname(join(copy, file)), { recursive: true })
    try {
      cpSync(join(root, file), join(copy, file))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'), 'junction')
  return { root: copy, remove: () => rmSync(copy, { recursive: true, force: true }) }
}

export interface MeasureOptions {
  /** Changes that do not count. */
  readonly same?: readonly SameMeaning[]
  /** Ends the run that is under way, and all that would follow. */
  readonly signal?: AbortSignal
  /** Milliseconds that a run may take even if one without a change takes much less. */
  readonly leastLimitMs?: number
}

/** How long a run may take beside the one without a change: other work of the machine makes some slow. */
const slowestTimes = 5
const plainLimitMs = 300_000

interface Run {
  readonly passed: boolean
  readonly ms: number
}

const endGroup = (pid: number): void => {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // nothing is left of it
  }
}

/** Runs tests; whatever they left behind is ended with them. A run that takes longer than its limit has failed. */
const runTests = (
  root: string,
  tests: readonly string[],
  limitMs: number,
  signal: AbortSignal | undefined,
): Promise<Run> => {
  signal?.throwIfAborted()
  const home = mkdtempSync(join(tmpdir(), 'mesh-mutation-home-'))
  const started = performance.now()
  return new Promise<Run>((resolve, reject) => {
    const child = spawn(process.execPath, ['--test', '--test-concurrency=1', ...tests], {
      cwd: root,
      stdio: 'ignore',
      detached: true,
      // inside of a test, Node would run none
      env: { ...environmentFor(home), NODE_TEST_CONTEXT: undefined, NODE_DISABLE_COMPILE_CACHE: '1', TMPDIR: home },
    })
    const end = (): void => endGroup(child.pid!)
    const timer = setTimeout(end, limitMs)
    signal?.addEventListener('abort', end)
    child.on('error', reject)
    child.on('exit', (code) => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', end)
      end() // what it started
      resolve({ passed: code === 0, ms: performance.now() - started })
    })
  }).finally(() => rmSync(home, { recursive: true, force: true, maxRetries: 3 }))
}

const limitsOf = async (
  root: string,
  module: Module,
  { signal, leastLimitMs = 10_000 }: MeasureOptions,
): Promise<number[]> => {
  const limits: number[] = []
  for (const tests of module.tests) {
    const plain = await runTests(root, tests, plainLimitMs, signal)
    signal?.throwIfAborted()
    if (!plain.passed) throw new Error(`tests of ${module.source} fail without any change: ${tests.join(' ')}`)
    limits.push(Math.max(leastLimitMs, slowestTimes * plain.ms))
  }
  return limits
}

/**
 * Tries changes of a module one after the other.
 * @throws Error when its tests fail without any, when it has none, or when the signal ends it
 */
export const measure = async (
  copy: Copy,
  module: Module,
  changes: readonly Change[],
  options: MeasureOptions = {},
): Promise<Outcome> => {
  const { same = [], signal } = options
  const path = join(copy.root, module.source)
  const source = readFileSync(path, 'utf8')
  const isSame = (change: Change): boolean =>
    same.some(({ file, from, to }) => file === module.source && from === change.from && to === change.to)
  const wanted = changes.filter((change) => !isSame(change))
  if (wanted.length === 0) return { source: module.source, noticed: 0, tried: 0, survivors: [] }
  if (module.tests.length === 0) throw new Error(`${module.source} has no tests`)
  const limits = await limitsOf(copy.root, module, options)
  const survivors: Change[] = []
  try {
    for (const change of wanted) {
      writeFileSync(path, applied(source, change))
      let noticed = false
      for (const [at, tests] of module.tests.entries())
        noticed ||= !(await runTests(copy.root, tests, limits[at], signal)).passed
      if (!noticed) survivors.push(change)
    }
  } finally {
    writeFileSync(path, source)
  }
  return { source: module.source, noticed: wanted.length - survivors.length, tried: wanted.length, survivors }
}
