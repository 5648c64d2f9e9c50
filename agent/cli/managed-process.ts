/** A Mesh program as a child process: its ready line, its last words, its end. */
import { type ChildProcess, spawn } from 'node:child_process'
import { constants } from 'node:os'
import { fileURLToPath } from 'node:url'
import { MeshError } from '../../shared/errors.ts'
import { nodeFlags } from '../../shared/node-flags.ts'
import { environmentFor } from '../../shared/options.ts'

/** Entry files; siblings are started as processes and never imported. */
export const programs = {
  mesh: fileURLToPath(new URL('../main.ts', import.meta.url)),
  /** `mesh`, for what runs without a terminal. */
  background: fileURLToPath(new URL('../background/main.ts', import.meta.url)),
  controlPlane: fileURLToPath(new URL('../../control-plane/main.ts', import.meta.url)),
  relay: fileURLToPath(new URL('../../relay-server/main.ts', import.meta.url)),
  bench: fileURLToPath(new URL('../../bench/main.ts', import.meta.url)),
} as const

export interface ManagedProcessOptions {
  /** How people know it. */
  readonly name: string
  readonly program: keyof typeof programs
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

const tailLines = 20
/** Characters of stdout that are kept: commands print less, services next to nothing. */
const stdoutLimit = 4 << 20

export const howItEnded = (code: number | null, signal: NodeJS.Signals | null): ProcessEnd =>
  signal === null
    ? { code: code ?? 1, how: `exit code ${code}` }
    : { code: 128 + (constants.signals[signal] ?? 0), how: signal }

const parseReady = (line: string): Record<string, unknown> | undefined => {
  if (!line.startsWith('{')) return undefined
  try {
    const value = JSON.parse(line) as Record<string, unknown>
    return value.event === 'ready' ? value : undefined
  } catch {
    return undefined
  }
}

const collectLines = (stream: NodeJS.ReadableStream, onLine: (line: string) => void): void => {
  let rest = ''
  stream
    .setEncoding('utf8')
    .on('data', (part: string) => {
      const lines = (rest + part).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) onLine(line)
    })
    .on('end', () => {
      if (rest !== '') onLine(rest)
    })
}

/** What starts a program, before its arguments. */
export const commandOf = (program: keyof typeof programs): readonly [file: string, ...args: string[]] => [
  process.execPath,
  ...nodeFlags,
  programs[program],
]

export const startProcess = (options: ManagedProcessOptions): ManagedProcess => {
  const [file, ...args] = [...(options.through ?? []), ...commandOf(options.program), ...options.args]
  const child: ChildProcess = spawn(file, args, {
    env: { ...environmentFor(options.home), ...options.env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'], // the channel carries nothing: its end tells the child that we are gone
    // a group of its own: Ctrl-C in the terminal reaches the parent alone, which stops the children in order
    detached: process.platform !== 'win32',
  })
  let stdout = ''
  const tail: string[] = []
  let end: ProcessEnd | undefined
  const ended = new Promise<ProcessEnd>((resolve) => {
    const finish = (result: ProcessEnd): void => {
      end ??= result
      resolve(end)
    }
    child.on('error', (error) => finish({ code: 1, how: error.message }))
    child.on('close', (code, signal) => finish(howItEnded(code, signal)))
  })
  const ready = new Promise<Record<string, unknown>>((resolve, reject) => {
    if (child.stdout)
      collectLines(child.stdout, (line) => {
        if (stdout.length < stdoutLimit) stdout += `${line}\n`
        const info = parseReady(line)
        if (info !== undefined) resolve(info)
      })
    if (child.stderr)
      collectLines(child.stderr, (line) => {
        tail.push(line)
        if (tail.length > tailLines) tail.shift()
        options.onLine?.(line)
      })
    void ended.then(({ how }) =>
      reject(new MeshError('processEnded', { name: options.name, how, problem: lastWords(tail), ...lastHint(tail) })),
    )
  })
  ready.catch(() => undefined) // one-shot commands have no ready line, and nobody waits for theirs

  const signal = (name: NodeJS.Signals): void => {
    if (end === undefined) child.kill(name)
  }
  const stop = async (): Promise<ProcessEnd> => {
    signal('SIGTERM')
    const timer = setTimeout(() => signal('SIGKILL'), options.stopMs ?? 6000)
    try {
      return await ended
    } finally {
      clearTimeout(timer)
    }
  }
  return {
    name: options.name,
    pid: child.pid ?? 0,
    ready,
    ended,
    get running() {
      return end === undefined
    },
    stdout: () => stdout,
    tail: () => [...tail],
    signal,
    stop,
  }
}

/** The line that says why it ended, if there is one. */
export const lastWords = (tail: readonly string[]): string => {
  const line = tail.findLast((text) => text.startsWith('error: ')) ?? tail.at(-1) ?? 'it said nothing'
  return line.replace(/^error: /, '').slice(0, 300)
}

/** What it said to do, if it did. */
const lastHint = (tail: readonly string[]): { readonly look?: string } => {
  const line = tail.findLast((text) => text.startsWith('hint: '))
  return line === undefined ? {} : { look: line.slice('hint: '.length).slice(0, 300) }
}
