/** Real processes of Mesh for tests: each ends with its test, whatever happens. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { type ManagedProcess, type ManagedProcessOptions, startProcess } from '../../agent/cli/managed-process.ts'
import { commandOf } from '../../agent/cli/programs.ts'
import { runCli } from '../../agent/cli/run.ts'
import { noInput } from '../../agent/cli/standard-input.ts'
import { openHome } from '../../shared/home.ts'
import { environmentFor } from '../../shared/options.ts'
import { withTimeout } from '../../shared/with-timeout.ts'
import { afterwards } from './homes.ts'

type Context = Pick<TestContext, 'after'>

export interface RunResult {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly home: string
  /** Changes of the environment; `undefined` removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly timeoutMs?: number
  /** As in `ManagedProcessOptions`. */
  readonly through?: readonly string[]
  /** Its standard input, which ends after it; without it there is none. */
  readonly input?: string | Buffer
  /** Called with what it prints, as it comes. */
  onOutput?(text: string): void
}

/** Runs a program to its end. It is killed when it takes too long, and `code` is then null. */
export const runProgram = (
  file: string,
  args: readonly string[],
  { home, env, timeoutMs = 120_000, input, onOutput }: RunOptions,
): Promise<RunResult> =>
  new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      env: { ...environmentFor(home), ...env },
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    })
    child.stdin?.on('error', () => undefined).end(input) // it may end without reading
    let stdout = ''
    let stderr = ''
    child.stdout?.setEncoding('utf8').on('data', (part: string) => {
      stdout += part
      onOutput?.(part)
    })
    child.stderr?.setEncoding('utf8').on('data', (part: string) => (stderr += part))
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, stdout, stderr }))
  })

export const runMesh = (args: readonly string[], options: RunOptions): Promise<RunResult> => {
  const [file, ...rest] = [...(options.through ?? []), ...commandOf('mesh'), ...args]
  return runProgram(file, rest, options)
}

/** Starts a prompt. `begun` settles with its first text: from then on the job runs, for as long as its tokens take. */
export const startPrompt = (
  args: readonly string[],
  options: Omit<RunOptions, 'onOutput'>,
): { readonly begun: Promise<void>; readonly result: Promise<RunResult> } => {
  const first = Promise.withResolvers<void>()
  const result = runMesh(args, { ...options, onOutput: () => first.resolve() })
  return { begun: within(20_000, 'the prompt writes', first.promise), result }
}

/**
 * Runs a command of `mesh` in this process: all of its code but `main.ts`, without the half second of processor that
 * starting a program takes. For what leads up to a test and looks at what came of it; its subject runs by `runMesh`.
 * @param send instead of `fetch`: sees every request
 */
export const meshHere = async (
  args: readonly string[],
  home: string,
  send: typeof fetch = fetch,
): Promise<RunResult> => {
  const written = { stdout: '', stderr: '' }
  const output = (stream: 'stdout' | 'stderr') => ({
    write: (text: string) => void (written[stream] += text),
    isTTY: false,
    columns: Infinity,
  })
  const code = await runCli([...args, '--log-level', 'silent'], {
    home: openHome(home),
    colour: false,
    now: Date.now,
    fetch: send,
    signal: AbortSignal.timeout(120_000),
    stdin: noInput(),
    stdout: output('stdout'),
    stderr: output('stderr'),
  })
  return { code, ...written }
}

/** Runs a command that must work, in this process where nothing else is asked for. @returns what it printed */
export const mesh = async (args: readonly string[], { home, ...options }: RunOptions): Promise<string> => {
  const isPlain = Object.values(options).every((value) => value === undefined)
  const { code, stdout, stderr } = await (isPlain ? meshHere(args, home) : runMesh(args, { home, ...options }))
  assert.equal(code, 0, `mesh ${args.join(' ')} failed:\n${stderr}`)
  return stdout
}

/** Starts a program and waits for its ready line. */
export const startReady = async (
  t: Context,
  options: ManagedProcessOptions,
): Promise<{ readonly process: ManagedProcess; readonly info: Record<string, unknown> }> => {
  const process = startProcess(options)
  afterwards(t, () => process.stop())
  return { process, info: await within(60_000, `${options.name} is ready`, process.ready) }
}

/**
 * How many times the deadline that it names a test waits: those are what a quiet machine keeps with room to spare, and
 * one that is busy with other work is no failure. What may not take longer than it says is timed by its own test.
 */
export const patience = 5

/** The value of a promise. @throws Error when it takes much longer */
export const within = <T>(timeoutMs: number, what: string, value: Promise<T>): Promise<T> =>
  withTimeout(value, patience * timeoutMs, () => {
    throw new Error(`not within ${patience} times ${timeoutMs} ms: ${what}`)
  })

/** Looks again until there is something. @throws Error when there is nothing in much more than that time */
export const eventually = async <T>(
  timeoutMs: number,
  what: string,
  look: () => Promise<T | undefined> | T | undefined,
): Promise<T> => {
  const deadline = Date.now() + patience * timeoutMs
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    if (Date.now() > deadline) throw new Error(`not within ${patience} times ${timeoutMs} ms: ${what}`)
    await pause(100)
  }
}
