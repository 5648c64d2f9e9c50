/** Where the time of a step goes. */
import type { StepTimes } from './engine.ts'

export class StepTimer {
  readonly #clock: () => number
  #computeMs = 0
  #collectiveMs = 0

  /** @param clock milliseconds */
  constructor(clock: () => number) {
    this.#clock = clock
  }

  get times(): StepTimes {
    return { computeMs: this.#computeMs, collectiveMs: this.#collectiveMs }
  }

  async compute(work: () => Promise<void>): Promise<void> {
    const start = this.#clock()
    await work()
    this.#computeMs += this.#clock() - start
  }

  /** Starts a sum: encoding and encrypting take the caller's time. The promise may be left alone for a while. */
  begin(sum: () => Promise<void>): Promise<void> {
    const start = this.#clock()
    const started = sum()
    started.catch(() => {}) // told when it is awaited; another sum may fail first
    this.#collectiveMs += this.#clock() - start
    return started
  }

  /** Only the time that nothing else was done counts. */
  async wait(sum: Promise<void>): Promise<void> {
    const start = this.#clock()
    await sum
    this.#collectiveMs += this.#clock() - start
  }
}
