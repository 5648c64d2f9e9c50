/**
 * What a turn costs whose job cannot say it: one that failed pays for the time for which it kept the ring from others.
 */

/** What is known of a turn that ended. */
export interface Used {
  /** Tokens that are paid for, prompt and answer; 0 of a job that failed. */
  readonly tokens: number
  /** Tokens of the answer that arrived. */
  readonly received: number
  /** How long the job had the ring. */
  readonly ms: number
  /** Tokens that the model holds; absent when the ring is gone. */
  readonly context?: number
}

/** Tokens a second that a ring is taken to manage as long as none of its jobs ended well. */
const firstSpeed = { tokens: 20, ms: 1000 }
/** What the jobs before count for against the newest one. */
const memory = 0.9
/** Every turn costs something, or who fails at once would have as many as it likes. */
const leastTokens = 1

/** How many tokens a ring manages in its time: by jobs that ended well, the newest for most. */
export class RingSpeed {
  #known: { readonly tokens: number; readonly ms: number } | undefined

  /**
   * What the fair queue charges.
   * @returns tokens: those that are paid for, else what the ring does in that time, at most what the model holds
   */
  cost({ tokens, received, ms, context = Infinity }: Used): number {
    const tookMs = Math.max(0, ms)
    if (tokens > 0) {
      const { tokens: before, ms: beforeMs } = this.#known ?? { tokens: 0, ms: 0 }
      if (tookMs > 0) this.#known = { tokens: memory * before + tokens, ms: memory * beforeMs + tookMs }
      return tokens
    }
    const speed = this.#known ?? firstSpeed
    return Math.min(context, Math.max(leastTokens, received, (tookMs * speed.tokens) / speed.ms))
  }
}
