/** What a child process prints: lines as they come, its ready line, its last words. */
import type { ChildProcess } from 'node:child_process'

const tailLines = 20
/** Characters of stdout that are kept: commands print less, services next to nothing. */
const stdoutLimit = 4 << 20

const parseReady = (line: string): Record<string, unknown> | undefined => {
  if (!line.startsWith('{')) return undefined
  try {
    const value = JSON.parse(line) as Record<string, unknown>
    return value.event === 'ready' ? value : undefined
  } catch {
    return undefined
  }
}

/** Calls `onLine` for each line of a stream, the last one too where nothing ends it. */
export const collectLines = (stream: NodeJS.ReadableStream | null, onLine: (line: string) => void): void => {
  let rest = ''
  stream
    ?.setEncoding('utf8')
    .on('data', (part: string) => {
      const lines = (rest + part).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) onLine(line)
    })
    .on('end', () => {
      if (rest !== '') onLine(rest)
    })
}

/** Keeps what is asked for later, and no more: a service prints for months. */
export class ProcessOutput {
  readonly #tail: string[] = []
  readonly #ready = Promise.withResolvers<Record<string, unknown>>()
  #stdout = ''

  /** @param onLine told of each line of stderr */
  constructor(
    { stdout, stderr }: Pick<ChildProcess, 'stdout' | 'stderr'>,
    onLine: (line: string) => void = () => undefined,
  ) {
    this.#ready.promise.catch(() => undefined) // one-shot commands have no ready line, and nobody waits for theirs
    collectLines(stdout, (line) => {
      if (this.#stdout.length < stdoutLimit) this.#stdout += `${line}\n`
      const info = parseReady(line)
      if (info !== undefined) this.#ready.resolve(info)
    })
    collectLines(stderr, (line) => {
      this.#tail.push(line)
      if (this.#tail.length > tailLines) this.#tail.shift()
      onLine(line)
    })
  }

  /** The object of its line `{"event":"ready",...}`; rejects with what `notReady` was told. */
  get ready(): Promise<Record<string, unknown>> {
    return this.#ready.promise
  }

  /** No ready line can come any more. */
  notReady(why: Error): void {
    this.#ready.reject(why)
  }

  get stdout(): string {
    return this.#stdout
  }

  /** Its last lines on stderr. */
  get tail(): string[] {
    return [...this.#tail]
  }
}

/** The line that says why it ended, if there is one. */
export const lastWords = (tail: readonly string[]): string => {
  const line = tail.findLast((text) => text.startsWith('error: ')) ?? tail.at(-1) ?? 'it said nothing'
  return line.replace(/^error: /, '').slice(0, 300)
}

/** What it said to do, if it did. */
export const lastHint = (tail: readonly string[]): { readonly look?: string } => {
  const line = tail.findLast((text) => text.startsWith('hint: '))
  return line === undefined ? {} : { look: line.slice('hint: '.length).slice(0, 300) }
}
