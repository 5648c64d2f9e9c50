/**
 * What the control plane must not miss of a job: every message is kept until the job is settled, and all of them are
 * sent again after a reconnect. The control plane drops what it has seen (tokens are numbered).
 */
import type { AgentMessage } from '../../shared/api/messages.ts'

export type JobMessage = Extract<AgentMessage, { jobId: string }>

/** Finished jobs kept while the control plane is away; the oldest is given up first. */
const maxJobs = 1000

export class Outbox {
  readonly #jobs = new Map<string, JobMessage[]>()
  readonly #send: (message: AgentMessage) => void

  constructor(send: (message: AgentMessage) => void) {
    this.#send = send
  }

  post(message: JobMessage): void {
    const kept = this.#jobs.get(message.jobId) ?? []
    // The end of a job carries the whole answer: what led to it need not be repeated.
    if (message.type === 'job-done' || message.type === 'job-failed') kept.length = 0
    kept.push(message)
    this.#jobs.set(message.jobId, kept)
    if (this.#jobs.size > maxJobs) this.#jobs.delete(this.#jobs.keys().next().value as string)
    this.#send(message)
  }

  /** A job of which something is not settled yet. */
  has(jobId: string): boolean {
    return this.#jobs.has(jobId)
  }

  settled(jobId: string): void {
    this.#jobs.delete(jobId)
  }

  /** After a reconnect. */
  resend(): void {
    for (const messages of this.#jobs.values()) for (const message of messages) this.#send(message)
  }
}
