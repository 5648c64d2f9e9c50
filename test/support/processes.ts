/** Real processes of Mesh for tests: each ends with its test, whatever happens. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { type ManagedProcess, type ManagedProcessOptions, startProcess } from '../../agent/cli/managed-process.ts'
import { commandOf } from '../../agent/cli/programs.ts'
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
  { home, env, timeoutMs = 30_000, input, onOutput }: RunOptions,
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

/** Runs a command that must work. @returns what it printed */
export const mesh = async (args: readonly string[], options: RunOptions): Promise<string> => {
  const { code, stdout, stderr } = await runMesh(args, options)
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

/** The value of a promise. @throws Error when it takes longer */
export const within = <T>(timeoutMs: number, what: string, value: Promise<T>): Promise<T> =>
  withTimeout(value, timeoutMs, () => {
    throw new Error(`not within ${timeoutMs} ms: ${what}`)
  })

/** Looks again until there is something. @throws Error when there is nothing in time */
export const eventually = async <T>(
  timeoutMs: number,
  what: string,
  look: () => Promise<T | undefined> | T | undefined,
): Promise<T> => {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`)
    await pause(100)
  }
}
