/** Exponential backoff: the pause before a further try doubles with each failure in a row, up to a longest one. */

export interface BackoffTimes {
  readonly firstMs: number
  readonly longestMs: number
  /** By which part a pause may be shorter or longer, so that many do not try at the same moment. 0 to 1, default 0 */
  readonly jitter?: number
  /** 0 to 1; default `Math.random` */
  readonly random?: () => number
}

/** @param failures pauses in a row that were made before this one. @returns milliseconds of this one */
export const backoffMs = (
  failures: number,
  { firstMs, longestMs, jitter = 0, random = Math.random }: BackoffTimes,
): number => Math.min(longestMs, firstMs * 2 ** failures) * (1 + jitter * (2 * random() - 1))

/** Counts the failures of one thing that is tried again and again. */
export class Backoff {
  readonly #times: BackoffTimes
  #failures = 0

  constructor(times: BackoffTimes) {
    this.#times = times
  }

  /** Milliseconds of the pause that the next failure causes, without jitter. */
  get nextMs(): number {
    return backoffMs(this.#failures, { ...this.#times, jitter: 0 })
  }

  /** It failed. @returns milliseconds to pause before the next try */
  fail(): number {
    return backoffMs(this.#failures++, this.#times)
  }

  /** It worked, or there is reason to think that it would: the next pause is the first again. */
  reset(): void {
    this.#failures = 0
  }
}
