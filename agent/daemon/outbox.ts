/**
 * What the control plane must not miss of a job: every message is kept until the job is settled, and all of them are
 * sent again after a reconnect. The control plane drops what it has seen (tokens are numbered). What ends a job is
 * written down before it is sent, so that it outlives this process. An answer that nobody took is given up after a
 * week: control planes keep none for longer unless they are told to, and a disk is no place to forget one.
 */
import type { AgentMessage } from '../../shared/api/messages.ts'
import type { JobMessage, MessageStore } from '../device/message-store.ts'

/** Finished jobs kept while the control plane is away; the oldest is given up first. */
const maxJobs = 1000
/** How long an answer waits for a control plane, in milliseconds, and how often it is looked. */
const keptMs = 7 * 86_400_000
const lookMs = 3600_000

/** Messages after which nothing more is said of a job here. */
const lastTypes: readonly AgentMessage['type'][] = ['job-done', 'job-failed', 'work-report']

export class Outbox {
  readonly #jobs = new Map<string, JobMessage[]>()
  readonly #send: (message: AgentMessage) => void
  readonly #store: MessageStore
  readonly #now: () => number
  readonly #timer: NodeJS.Timeout
  readonly name = 'outbox'

  constructor(store: MessageStore, send: (message: AgentMessage) => void, now: () => number = Date.now) {
    this.#store = store
    this.#send = send
    this.#now = now
    for (const message of store.load()) this.#jobs.set(message.jobId, [message])
    this.forgetOld()
    this.#timer = setInterval(() => this.forgetOld(), lookMs).unref()
  }

  /** Gives up what has waited for too long. */
  forgetOld(): void {
    const now = this.#now()
    for (const jobId of this.#jobs.keys())
      if (now - (this.#store.writtenAt(jobId, now) ?? now) > keptMs) this.settled(jobId)
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  post(message: JobMessage): void {
    const kept = this.#jobs.get(message.jobId) ?? []
    if (lastTypes.includes(message.type)) {
      kept.length = 0 // it carries the whole answer: what led to it need not be repeated
      this.#store.save(message)
    }
    kept.push(message)
    this.#jobs.set(message.jobId, kept)
    if (this.#jobs.size > maxJobs) this.settled(this.#jobs.keys().next().value as string)
    this.#send(message)
  }

  /** A job of which something is not settled yet. */
  has(jobId: string): boolean {
    return this.#jobs.has(jobId)
  }

  settled(jobId: string): void {
    if (this.#jobs.delete(jobId)) this.#store.remove(jobId)
  }

  /** After a reconnect. */
  resend(): void {
    for (const messages of this.#jobs.values()) for (const message of messages) this.#send(message)
  }
}
