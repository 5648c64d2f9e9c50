/** Live events of jobs, from where they are stored to who listens; and what jobs wait for, which is stored nowhere. */
import { MeshError } from '../../shared/errors.ts'
import type { JobEvent, JobWaiting } from '../../shared/schema/job.ts'

export interface JobListener {
  event(event: JobEvent): void
  /** Absent: does not want to know. */
  waiting?(waiting: JobWaiting): void
}

/** Streams that one member, or one API key, may follow at once: as many as it may have jobs waiting, and some. */
const streamsOfOne = 128

export class JobHub {
  readonly #listeners = new Map<string, Set<JobListener>>()
  /** How many streams each member or key follows. */
  readonly #followed = new Map<string, number>()

  publish(jobId: string, events: readonly (JobEvent | undefined)[]): void {
    for (const event of events)
      if (event) for (const listener of this.#listeners.get(jobId) ?? []) listener.event(event)
  }

  tell(jobId: string, waiting: JobWaiting): void {
    for (const listener of this.#listeners.get(jobId) ?? []) listener.waiting?.(waiting)
  }

  /** Somebody wants to know what the job waits for. */
  isAsked(jobId: string): boolean {
    return [...(this.#listeners.get(jobId) ?? [])].some(({ waiting }) => waiting !== undefined)
  }

  /** @param who a device or a key @throws MeshError `overloaded` */
  checkRoom(who: string): void {
    if ((this.#followed.get(who) ?? 0) >= streamsOfOne)
      throw new MeshError('overloaded', { what: 'the list of event streams of this sender', limit: streamsOfOne })
  }

  /** @returns how to stop listening, once */
  listen(jobId: string, listener: JobListener, who: string): () => void {
    this.#followed.set(who, (this.#followed.get(who) ?? 0) + 1)
    const listeners = this.#listeners.get(jobId) ?? new Set()
    this.#listeners.set(jobId, listeners.add(listener))
    return () => {
      if (!listeners.delete(listener)) return
      const left = (this.#followed.get(who) ?? 1) - 1
      if (left === 0) this.#followed.delete(who)
      else this.#followed.set(who, left)
      if (listeners.size === 0) this.#listeners.delete(jobId)
    }
  }
}
