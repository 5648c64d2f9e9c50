/** Time that passes only while nothing else is to be done: what a test waits for does not depend on the machine. */
import type { TestContext } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'

export interface VirtualTime {
  /** Milliseconds since it began. */
  now(): number
  /** Lets time pass until the work is over, a millisecond after each turn of the event loop. */
  run<T>(work: Promise<T>): Promise<T>
}

/** From now on `setTimeout` and `performance.now` of this process go by it, until the test ends. */
export const virtualTime = (t: TestContext): VirtualTime => {
  let now = 0
  t.mock.method(performance, 'now', () => now)
  t.mock.timers.enable({ apis: ['setTimeout'] })
  return {
    now: () => now,
    run: async (work) => {
      const state = { isOver: false }
      const over = (): void => void (state.isOver = true)
      work.then(over, over)
      for (;;) {
        await turn()
        if (state.isOver) return work
        now++
        t.mock.timers.tick(1)
      }
    },
  }
}
