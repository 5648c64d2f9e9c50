/** A log file of bounded size: when it is full, it becomes `<file>.1` and a new one begins. */
import { appendFileSync, renameSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { makeFolder } from '../../shared/make-folder.ts'

/** Bytes of one file: weeks of a service that logs changes only. */
const limitBytes = 4 * 2 ** 20

export class LogFile {
  readonly #file: string
  readonly #limitBytes: number
  #bytes = 0

  constructor(file: string, limit = limitBytes) {
    this.#file = file
    this.#limitBytes = limit
    try {
      makeFolder(dirname(file), 0o700)
      this.#bytes = statSync(file).size
    } catch {
      // no file yet, or none can be made: see `write`
    }
  }

  /** Appends a line. A disk that is full costs the line, not the service. */
  write(line: string): void {
    try {
      if (this.#bytes >= this.#limitBytes) {
        renameSync(this.#file, `${this.#file}.1`)
        this.#bytes = 0
      }
      appendFileSync(this.#file, `${line}\n`, { mode: 0o600 })
      this.#bytes += Buffer.byteLength(line) + 1
    } catch {
      // the next line is tried again
    }
  }
}
