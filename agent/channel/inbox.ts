/**
 * Frames of one peer that came and were not asked for yet, and those asked for that have not come: the half of a
 * `Channel` that does not depend on what carries the frames.
 */
import { MeshError } from '../../shared/errors.ts'
import { type FrameTag, frameKinds, tagKey } from '../../shared/wire/frame.ts'
import { limits } from '../../shared/limits.ts'
import type { Payload } from './channel.ts'

/** Memory that a kept frame takes besides its payload, so that endless tiny frames count too. */
const keptFrameBytes = 512
/** Jobs whose late frames are recognised and dropped. */
const rememberedJobs = 16

interface Waiting {
  readonly job: number
  /** When it is given up, in milliseconds of `performance.now()`. */
  readonly deadline: number
  resolve(payload: Payload): void
  reject(error: Error): void
}

export interface InboxOptions {
  readonly stepTimeoutMs: number
  /** Most that is kept of what nobody asked for yet. Default: `limits.earlyFrameBytes`. */
  readonly earlyFrameBytes?: number
  /** The error for a peer that is silent too long. */
  timeout(): MeshError
}

export class Inbox {
  readonly #options: InboxOptions
  readonly #early = new Map<string, { readonly job: number; readonly payload: Payload }>()
  readonly #waiting = new Map<string, Waiting>()
  readonly #forgotten: number[] = []
  /**
   * One for all that waits: a timer a frame would cost as much as the frame. Holds the process only while something
   * waits.
   */
  #timer: NodeJS.Timeout | undefined
  #earlyBytes = 0
  #broken: Error | undefined

  constructor(options: InboxOptions) {
    this.#options = options
  }

  /**
   * A frame came. Duplicates and frames of forgotten jobs are dropped.
   * @throws MeshError `frameTooLarge` when too much lies waiting
   */
  put(tag: FrameTag, payload: Payload): void {
    if (this.#forgotten.includes(tag.job)) return
    const key = tagKey(frameKinds.tensor, tag)
    const waiting = this.#waiting.get(key)
    if (waiting) {
      this.#waiting.delete(key)
      if (this.#waiting.size === 0) this.#timer?.unref()
      return waiting.resolve(payload)
    }
    if (this.#early.has(key)) return
    const limit = this.#options.earlyFrameBytes ?? limits.earlyFrameBytes
    const bytes = this.#earlyBytes + keptFrameBytes + payload.bytes.length
    if (bytes > limit) throw new MeshError('frameTooLarge', { gotBytes: bytes, limitBytes: limit })
    this.#earlyBytes = bytes
    this.#early.set(key, { job: tag.job, payload })
  }

  /**
   * @throws MeshError `collectiveTimeout` | what broke the link | `jobCancelled` when the job is forgotten meanwhile
   */
  take(tag: FrameTag): Promise<Payload> {
    const key = tagKey(frameKinds.tensor, tag)
    const early = this.#early.get(key)
    if (early) {
      this.#drop(key, early.payload)
      return Promise.resolve(early.payload)
    }
    if (this.#broken) return Promise.reject(this.#broken)
    if (this.#forgotten.includes(tag.job)) return Promise.reject(new MeshError('jobCancelled'))
    const deadline = performance.now() + this.#options.stepTimeoutMs
    this.#timer ??= setTimeout(this.#expire, this.#options.stepTimeoutMs)
    this.#timer.ref()
    return new Promise((resolve, reject) => this.#waiting.set(key, { job: tag.job, deadline, resolve, reject }))
  }

  forget(job: number): void {
    this.#forgotten.push(job)
    if (this.#forgotten.length > rememberedJobs) this.#forgotten.shift()
    for (const [key, early] of this.#early) {
      if (early.job === job) this.#drop(key, early.payload)
    }
    this.#rejectWaiting(new MeshError('jobCancelled'), job)
  }

  /** The link is gone: everything that waits fails at once. */
  break(error: Error): void {
    this.#broken ??= error
    this.#rejectWaiting(error)
  }

  /** Gives up what waited too long, and comes back for the next deadline. */
  readonly #expire = (): void => {
    this.#timer = undefined
    const now = performance.now()
    for (const [key, { deadline, reject }] of this.#waiting) {
      if (deadline > now) continue
      this.#waiting.delete(key)
      reject(this.#options.timeout())
    }
    const [next] = this.#waiting.values() // the oldest: all wait equally long
    if (next) this.#timer = setTimeout(this.#expire, Math.ceil(next.deadline - now))
  }

  #drop(key: string, payload: Payload): void {
    this.#early.delete(key)
    this.#earlyBytes -= keptFrameBytes + payload.bytes.length
  }

  #rejectWaiting(error: Error, job?: number): void {
    for (const [key, waiting] of this.#waiting) {
      if (job !== undefined && waiting.job !== job) continue
      this.#waiting.delete(key)
      waiting.reject(error)
    }
    if (this.#waiting.size > 0) return
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
