/** A Mesh program as a child process: its ready line, its last words, its end. */
import { type ChildProcess, spawn } from 'node:child_process'
import { constants } from 'node:os'
import { MeshError } from '../../shared/errors.ts'
import { environmentFor } from '../../shared/options.ts'
import { lastHint, lastWords, ProcessOutput } from './process-output.ts'
import { commandOf, type ProgramName } from './programs.ts'

export interface ManagedProcessOptions {
  /** How people know it. */
  readonly name: string
  readonly program: ProgramName
  readonly args: readonly string[]
  /** `MESHNET_HOME` of the child. */
  readonly home: string
  /** Program and arguments that start it, for example `ip netns exec lab`; it must become the child. */
  readonly through?: readonly string[]
  /** Further variables of the child. */
  readonly env?: Readonly<Record<string, string>>
  /** Milliseconds between SIGTERM and SIGKILL. */
  readonly stopMs?: number
  /** Called with each line that it writes to stderr. */
  onLine?(line: string): void
}

export interface ProcessEnd {
  readonly code: number
  readonly how: string
}

export interface ManagedProcess {
  readonly name: string
  readonly pid: number
  /** The object of its line `{"event":"ready",...}`. @throws MeshError `processEnded` when it ends before */
  readonly ready: Promise<Record<string, unknown>>
  /** Never rejects. */
  readonly ended: Promise<ProcessEnd>
  readonly running: boolean
  /** Everything it wrote to stdout. */
  stdout(): string
  /** Its last lines on stderr. */
  tail(): string[]
  signal(signal: NodeJS.Signals): void
  /** SIGTERM, then SIGKILL if it does not listen. Resolves when it is gone. */
  stop(): Promise<ProcessEnd>
}

export const howItEnded = (code: number | null, signal: NodeJS.Signals | null): ProcessEnd =>
  signal === null
    ? { code: code ?? 1, how: `exit code ${code}` }
    : { code: 128 + (constants.signals[signal] ?? 0), how: signal }

const spawnProgram = (options: ManagedProcessOptions): ChildProcess => {
  const [file, ...args] = [...(options.through ?? []), ...commandOf(options.program), ...options.args]
  return spawn(file, args, {
    env: { ...environmentFor(options.home), ...options.env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'], // the channel carries nothing: its end tells the child that we are gone
    // a group of its own: Ctrl-C in the terminal reaches the parent alone, which stops the children in order
    detached: process.platform !== 'win32',
  })
}

export const startProcess = (options: ManagedProcessOptions): ManagedProcess => {
  const { name, stopMs = 6000 } = options
  const child = spawnProgram(options)
  const output = new ProcessOutput(child, options.onLine)
  let end: ProcessEnd | undefined
  const ended = new Promise<ProcessEnd>((resolve) => {
    const finish = (result: ProcessEnd): void => {
      end ??= result
      resolve(end)
    }
    child.on('error', (error) => finish({ code: 1, how: error.message }))
    child.on('close', (code, signal) => finish(howItEnded(code, signal)))
  })
  void ended.then(({ how }) => {
    const { tail } = output
    output.notReady(new MeshError('processEnded', { name, how, problem: lastWords(tail), ...lastHint(tail) }))
  })

  const signal = (which: NodeJS.Signals): void => {
    if (end === undefined) child.kill(which)
  }
  const stop = async (): Promise<ProcessEnd> => {
    signal('SIGTERM')
    const timer = setTimeout(() => signal('SIGKILL'), stopMs)
    try {
      return await ended
    } finally {
      clearTimeout(timer)
    }
  }
  return {
    name,
    pid: child.pid ?? 0,
    ready: output.ready,
    ended,
    get running() {
      return end === undefined
    },
    stdout: () => output.stdout,
    tail: () => output.tail,
    signal,
    stop,
  }
}
