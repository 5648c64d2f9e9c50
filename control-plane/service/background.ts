/**
 * What nobody waits for: work of timers, sockets and streams. Nothing thrown there may end the process, and what a
 * full disk keeps from being stored is done when there is room again. One place knows whether the database can be
 * written: whatever fails tells it, and it looks again until it can.
 */
import { Backoff } from '../../shared/backoff.ts'
import { MeshError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'

export interface BackgroundOptions {
  readonly logger: Logger
  readonly now: () => number
  /** Writes to the database, and throws when it cannot. */
  probe(): void
}

const pauses = { firstMs: 250, longestMs: 5000 }
/** Trouble within this time of the last recovery is the same trouble: it is looked at as rarely as before. */
const calmMs = 60_000
/** How long the answer to "can it be written?" is believed: anybody may ask, and asking writes. */
const believedMs = 1000

const isOfStorage = ({ code }: MeshError): boolean => code === 'storageFull' || code === 'storageFailed'

export class Background {
  readonly #options: BackgroundOptions
  readonly #pending = new Map<string, () => void>()
  readonly #onTrouble: ((problem: MeshError) => void)[] = []
  readonly #onRecovery: (() => void)[] = []
  #problem: MeshError | undefined
  #timer: NodeJS.Timeout | undefined
  readonly #backoff = new Backoff(pauses)
  #recoveredAt = -Infinity
  #probedAt = -Infinity
  #stopped = false

  constructor(options: BackgroundOptions) {
    this.#options = options
  }

  /** Why nothing can be stored now; `undefined` while that is not known to be so. */
  get problem(): MeshError | undefined {
    return this.#problem
  }

  /** Called when storing begins to fail, and when it turns out that the disk is full. */
  onTrouble(listener: (problem: MeshError) => void): void {
    this.#onTrouble.push(listener)
  }

  /** Called when it works again, after what was pending. */
  onRecovery(listener: () => void): void {
    this.#onRecovery.push(listener)
  }

  /** Somebody failed. @returns true when the storage is to blame: it is looked at again until it works */
  note(error: unknown): boolean {
    const failure = MeshError.from(error)
    if (!isOfStorage(failure)) return false
    const isNew = this.#problem === undefined
    if (isNew && this.#options.now() - this.#recoveredAt > calmMs) this.#backoff.reset()
    // locked or failing when its disk filled up: what is told is what somebody can mend, and it does not change back
    const isPlainer = failure.code === 'storageFull' && this.#problem?.code !== 'storageFull'
    if (isNew || isPlainer) this.#tell(failure)
    this.#lookLater()
    return true
  }

  #tell(failure: MeshError): void {
    this.#options.logger.error({ code: failure.code }, `${failure.message}; ${failure.hint}`)
    this.#problem = failure
    for (const listener of this.#onTrouble) this.run('telling of the storage', () => listener(failure))
  }

  /** Runs it and never throws. @returns false when it failed */
  run(what: string, work: () => void): boolean {
    try {
      work()
      return true
    } catch (error) {
      if (!this.note(error)) this.#options.logger.error({ err: error, what }, MeshError.from(error).message)
      return false
    }
  }

  /**
   * Runs it and never throws; when it cannot be stored, again until it can. The work must decide anew each time
   * whether it is still to be done.
   * @param key names the work: of two with the same name the later one counts
   */
  untilStored(key: string, work: () => void): void {
    this.#pending.delete(key)
    try {
      work()
    } catch (error) {
      if (this.note(error)) this.#pending.set(key, work)
      else this.#options.logger.error({ err: error, what: key }, MeshError.from(error).message)
    }
  }

  /** Looks whether anything can be stored. @throws MeshError `storageFull` | `storageFailed` */
  check(): void {
    if (this.#problem) throw this.#problem
    if (this.#options.now() - this.#probedAt < believedMs) return
    this.#probedAt = this.#options.now()
    try {
      this.#options.probe()
    } catch (error) {
      this.note(error)
      throw MeshError.from(error)
    }
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
  }

  #lookLater(): void {
    if (!this.#stopped) this.#timer ??= setTimeout(() => this.#lookAgain(), this.#backoff.fail()).unref()
  }

  #lookAgain(): void {
    this.#timer = undefined
    if (!this.run('looking at the storage', () => this.#options.probe())) return this.#lookLater()
    const due = Array.from(this.#pending) // what fails again is added anew
    for (const [key, work] of due) this.untilStored(key, work)
    if (this.#timer !== undefined) return // some of it failed again
    this.#problem = undefined
    this.#recoveredAt = this.#options.now()
    this.#options.logger.info('the storage can be written again')
    for (const listener of this.#onRecovery) this.run('recovering', listener)
  }
}
