/** The logs of a home, merged by time: the newest lines, and those that come. */
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { StringDecoder } from 'node:string_decoder'
import type { Home } from '../../shared/home.ts'
import { namesIn, textOf } from '../../shared/lenient-files.ts'
import { type LogEntry, parseLogLine } from '../../shared/log-text.ts'

export interface LogLine {
  /** Name of the log: `agent`, `control-plane`, ... */
  readonly part: string
  /** As it is in the file. */
  readonly text: string
  readonly entry: LogEntry
  /** Milliseconds since 1970; of the line before where it has none of its own. */
  readonly time: number
}

const suffix = '.log'

/** Names of the logs that there are. */
export const logParts = (home: Home): string[] =>
  namesIn(home.logs)
    .filter((name) => name.endsWith(suffix))
    .map((name) => name.slice(0, -suffix.length))
    .toSorted()

const fileOf = (home: Home, part: string): string => join(home.logs, part + suffix)

/** Lines of a log file; none where it is not there. */
const written = (file: string): string[] => (textOf(file) ?? '').split('\n').filter((line) => line !== '')

const linesOf = (part: string, text: string, before = 0): LogLine[] => {
  let time = before
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const entry = parseLogLine(line)
      time = entry.time ?? time
      return { part, text: line, entry, time }
    })
}

/** Lines without any time (a crash before the first log line) are as old as their file. */
const timeOfFile = (file: string): number => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0

/** The newest lines of some logs, oldest first. */
export const newestLines = (home: Home, parts: readonly string[], count: number): LogLine[] => {
  if (count === 0) return []
  const lines = parts.flatMap((part) => {
    const file = fileOf(home, part)
    const newest = written(file)
    const text = newest.length >= count ? newest : [...written(`${file}.1`), ...newest]
    return linesOf(part, text.slice(-count).join('\n'), part === 'crash' ? timeOfFile(file) : 0)
  })
  return lines.toSorted((a, b) => a.time - b.time).slice(-count)
}

/** What is appended to one file, also after it was put aside and a new one began. */
class Tail {
  readonly #file: string
  readonly #part: string
  #handle: number | undefined
  #at = 0
  #decoder = new StringDecoder('utf8')
  #rest = ''

  /** @param fromStart also what is in it now */
  constructor(home: Home, part: string, fromStart: boolean) {
    this.#file = fileOf(home, part)
    this.#part = part
    this.#open()
    if (!fromStart && this.#handle !== undefined) this.#at = fstatSync(this.#handle).size
  }

  /** Lines that are complete since last time. */
  read(): LogLine[] {
    if (this.#handle === undefined) this.#open()
    if (this.#handle === undefined) return []
    const text = this.#readOn(this.#handle)
    if (!this.#isPutAside(this.#handle)) return linesOf(this.#part, text, Date.now())
    this.stop()
    this.#open()
    return linesOf(this.#part, text + (this.#handle === undefined ? '' : this.#readOn(this.#handle)), Date.now())
  }

  stop(): void {
    if (this.#handle !== undefined) closeSync(this.#handle)
    this.#handle = undefined
  }

  #open(): void {
    try {
      this.#handle = openSync(this.#file, 'r')
      this.#at = 0
    } catch {
      this.#handle = undefined // not there yet
    }
  }

  #readOn(handle: number): string {
    const { size } = fstatSync(handle)
    if (size < this.#at) this.#at = 0 // somebody emptied it
    const bytes = Buffer.alloc(size - this.#at)
    this.#at += readSync(handle, bytes, 0, bytes.length, this.#at)
    const lines = (this.#rest + this.#decoder.write(bytes)).split('\n')
    this.#rest = lines.pop() ?? ''
    return lines.map((line) => `${line}\n`).join('')
  }

  #isPutAside(handle: number): boolean {
    const now = statSync(this.#file, { throwIfNoEntry: false })
    return now !== undefined && now.ino !== fstatSync(handle).ino
  }
}

/** Follows logs from their end; a log that begins later is read from its start. */
export class LogFollower {
  readonly #home: Home
  readonly #only: string | undefined
  readonly #tails = new Map<string, Tail>()

  constructor(home: Home, only: string | undefined) {
    this.#home = home
    this.#only = only
    for (const part of this.#parts()) this.#tails.set(part, new Tail(home, part, false))
  }

  /** What came since last time, in order of time. */
  read(): LogLine[] {
    for (const part of this.#parts())
      if (!this.#tails.has(part)) this.#tails.set(part, new Tail(this.#home, part, true))
    return [...this.#tails.values()].flatMap((tail) => tail.read()).toSorted((a, b) => a.time - b.time)
  }

  stop(): void {
    for (const tail of this.#tails.values()) tail.stop()
  }

  #parts(): readonly string[] {
    return this.#only === undefined ? logParts(this.#home) : [this.#only]
  }
}
