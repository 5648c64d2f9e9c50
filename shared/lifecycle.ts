/** What was started stops in reverse, each part with a deadline; the one place that knows about signals. */
import { withTimeout } from './with-timeout.ts'
import { formatDuration } from './words.ts'

export interface Part {
  readonly name: string
  stop(): Promise<void> | void
}

/** Parts that were started so far; `stop` ends them last to first and never throws (it returns what went wrong). */
export class Lifecycle {
  readonly #parts: Part[] = []
  #stopping: Promise<string[]> | undefined
  readonly #deadlineMs: number

  constructor(deadlineMs = 5000) {
    this.#deadlineMs = deadlineMs
  }

  add<T extends Part>(part: T): T {
    this.#parts.push(part)
    return part
  }

  stop(): Promise<string[]> {
    this.#stopping ??= this.#stopAll()
    return this.#stopping
  }

  async #stopAll(): Promise<string[]> {
    const problems: string[] = []
    for (const part of this.#parts.toReversed()) {
      const stopped = Promise.resolve()
        .then(() => part.stop())
        .then(() => undefined)
        .catch((error: unknown) => `${part.name}: ${error instanceof Error ? error.message : String(error)}`)
      const problem = await withTimeout(
        stopped,
        this.#deadlineMs,
        () => `${part.name} did not stop within ${formatDuration(this.#deadlineMs)}`,
      )
      if (problem !== undefined) problems.push(problem)
    }
    return problems
  }
}

/**
 * Acts once when the Mesh program that started this one is gone, however it ended: SIGKILL leaves it no time to tell.
 * The channel between the two says so. Does nothing in a process that something else started.
 */
export const onParentGone = (action: () => void): void => {
  if (process.connected === false) action() // it went while this program was being loaded
  process.once('disconnect', action)
  process.channel?.unref()
}

/** Resolves with the name of the first SIGINT or SIGTERM, or `parent gone`. */
export const untilSignal = (): Promise<string> =>
  new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve(signal))
    onParentGone(() => resolve('parent gone'))
  })

export const untilAborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
