/** Live events of jobs, from where they are stored to who listens; and what jobs wait for, which is stored nowhere. */
import type { JobEvent, JobWaiting } from '../../shared/schema/job.ts'

export interface JobListener {
  event(event: JobEvent): void
  /** Absent: does not want to know. */
  waiting?(waiting: JobWaiting): void
}

export class JobHub {
  readonly #listeners = new Map<string, Set<JobListener>>()

  publish(jobId: string, events: readonly (JobEvent | undefined)[]): void {
    for (const event of events) if (event) for (const listener of this.#listeners.get(jobId) ?? []) listener.event(event)
  }

  tell(jobId: string, waiting: JobWaiting): void {
    for (const listener of this.#listeners.get(jobId) ?? []) listener.waiting?.(waiting)
  }

  /** Somebody wants to know what the job waits for. */
  isAsked(jobId: string): boolean {
    return [...(this.#listeners.get(jobId) ?? [])].some(({ waiting }) => waiting !== undefined)
  }

  /** @returns how to stop listening */
  listen(jobId: string, listener: JobListener): () => void {
    const listeners = this.#listeners.get(jobId) ?? new Set()
    this.#listeners.set(jobId, listeners.add(listener))
    return () => {
      listeners.delete(listener)
      if (listeners.size === 0) this.#listeners.delete(jobId)
    }
  }
}
