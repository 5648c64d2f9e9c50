/** Live events of jobs, from where they are stored to who listens. */
import type { JobEvent } from '../../shared/schema/job.ts'

export class JobHub {
  readonly #listeners = new Map<string, Set<(event: JobEvent) => void>>()

  publish(jobId: string, events: readonly (JobEvent | undefined)[]): void {
    for (const event of events) if (event) for (const listener of this.#listeners.get(jobId) ?? []) listener(event)
  }

  /** @returns how to stop listening */
  listen(jobId: string, listener: (event: JobEvent) => void): () => void {
    const listeners = this.#listeners.get(jobId) ?? new Set()
    this.#listeners.set(jobId, listeners.add(listener))
    return () => {
      listeners.delete(listener)
      if (listeners.size === 0) this.#listeners.delete(jobId)
    }
  }
}
