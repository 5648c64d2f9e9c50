/**
 * Forgets the text of jobs when its time is over, and seals what older versions wrote plainly. In small steps: what is
 * due after a long pause, or a large file of before, must not hold the process up.
 */
import type { Logger } from '../../shared/log.ts'
import type { OpenDatabase } from '../store/database.ts'
import type { TextStore } from '../store/text-store.ts'
import type { Background } from './background.ts'

export interface TextSettings {
  /**
   * How long prompts and answers are kept after the end of their job, in milliseconds; at least `leastKeptMs`. 0: until
   * the submitter has read the end and that time is over, or `unreadMs` after the end if it never does.
   */
  readonly keepMs: number
  /** How often it is looked. */
  readonly everyMs?: number
}

export interface TextKeeperOptions {
  readonly textStore: TextStore
  readonly database: Pick<OpenDatabase, 'clean' | 'truncateLog'>
  readonly background: Background
  readonly now: () => number
  readonly settings: TextSettings
  readonly logger: Logger
}

export const defaultTexts: TextSettings = { keepMs: 7 * 86_400_000 }
/** So long a command that lost its connection may still read the answer. */
export const leastKeptMs = 60_000
/** With `keepMs` 0: how long an answer waits for whoever asked. */
export const unreadMs = 600_000

const defaultEveryMs = 10_000
/** Jobs of one step. */
const jobsAtOnce = 100
/** Milliseconds that one turn may take, and of the pause until the next. */
const turnMs = 15
const pauseMs = 15
/** Answers whose reading is remembered; of more, the oldest wait for `unreadMs`. */
const mostRead = 100_000

export class TextKeeper {
  readonly #options: TextKeeperOptions
  readonly #timer: NodeJS.Timeout
  /** When the end of a job was read by who may: kept only where that matters. */
  readonly #readAt = new Map<string, number>()
  #more: NodeJS.Timeout | undefined
  #allSealed = false
  #deleted = false

  constructor(options: TextKeeperOptions) {
    this.#options = options
    const { keepMs, everyMs = Math.min(defaultEveryMs, Math.max(1000, keepMs / 4)) } = options.settings
    this.#timer = setInterval(() => this.look(), everyMs).unref()
    this.look()
  }

  /** The submitter was given the end of the job. */
  wasRead(jobId: string): void {
    const { settings, now } = this.#options
    if (settings.keepMs > 0 || this.#readAt.has(jobId)) return
    if (this.#readAt.size >= mostRead) this.#readAt.delete(this.#readAt.keys().next().value as string)
    this.#readAt.set(jobId, now())
  }

  /** Does what is due, for a short while, and goes on soon if that was not all. Never throws. */
  look(): void {
    clearTimeout(this.#more)
    this.#more = undefined
    let isDone = true
    this.#options.background.run('forgetting texts', () => {
      const until = performance.now() + turnMs
      do isDone = this.#step()
      while (!isDone && performance.now() < until)
    })
    if (!isDone) this.#more = setTimeout(() => this.look(), pauseMs).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
    clearTimeout(this.#more)
  }

  /** @returns whether nothing more is to be done now */
  #step(): boolean {
    const { textStore, database, now, settings, logger } = this.#options
    if (!this.#allSealed) {
      this.#allSealed = textStore.sealSome()
      if (!this.#allSealed) return false
      if (!database.clean())
        logger.warn(
          'texts of before are sealed; what older versions left in unused parts of the file goes at the next start',
        )
    }
    textStore.mendTimes(now())
    if (this.#forgetRead()) return false
    const keptMs = settings.keepMs === 0 ? unreadMs : Math.max(settings.keepMs, leastKeptMs)
    if (textStore.forgetDue(now() - keptMs, jobsAtOnce) === jobsAtOnce) return false
    if (!textStore.deleteSome()) {
      this.#deleted = true
      return false
    }
    // what was written over lies in the log until it is written into the file
    if (this.#deleted) database.truncateLog()
    this.#deleted = false
    return true
  }

  /** @returns whether any was forgotten */
  #forgetRead(): boolean {
    const { textStore, now } = this.#options
    for (const [jobId, at] of this.#readAt) {
      if (Math.abs(now() - at) < leastKeptMs) return false // the others were read later
      this.#readAt.delete(jobId)
      textStore.forget(jobId)
      return true
    }
    return false
  }
}
