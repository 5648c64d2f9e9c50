/** Devices that speak another version: told in the log of the control plane too, each once in a while. */
import type { MeshError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { putLast } from '../../shared/put-last.ts'

/** A device that nobody updates asks every minute. */
const againMs = 3600e3
const mostDevices = 1000
/** Strangers may claim to be any device. */
const mostLines = 100

export class OlderDevices {
  readonly #told = new Map<string, number>()
  readonly #logger: Logger
  readonly #now: () => number

  constructor(logger: Logger, now: () => number) {
    this.#logger = logger
    this.#now = now
  }

  note(error: MeshError, address: string): void {
    const recent = [...this.#told.values()].filter((at) => this.#now() - at < againMs).length
    const last = this.#told.get(error.message) ?? -Infinity
    if (this.#now() - last < againMs || recent >= mostLines) return
    putLast(this.#told, error.message, this.#now(), mostDevices)
    this.#logger.warn({ address }, `${error.message}: ${error.hint}`)
  }
}
