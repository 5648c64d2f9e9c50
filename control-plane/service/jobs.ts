/** Jobs as those see them who submit, follow and cancel them. */
import { MeshError } from '../../shared/errors.ts'
import { newJobId, shortId } from '../../shared/ids.ts'
import type { Job, JobSubmission } from '../../shared/schema/job.ts'
import { mayReadText, type Reader, withoutText } from '../domain/job-readers.ts'
import { finalStates } from '../domain/job-state.ts'
import { termsOf } from '../domain/pool-terms.ts'
import { checkAsked, checkPromptLength } from '../domain/prompt-length.ts'
import { checkQueue } from '../domain/queue-limits.ts'
import type { JobQueueStore } from '../store/job-queue-store.ts'
import type { JobStore } from '../store/job-store.ts'
import type { PoolStore } from '../store/pool-store.ts'
import type { RingStore, StoredRing } from '../store/ring-store.ts'
import type { ApiKeys } from './api-keys.ts'
import type { Background } from './background.ts'
import type { Credits } from './credits.ts'
import type { Events } from './events.ts'
import type { JobDeadlines } from './job-deadlines.ts'
import type { JobDispatch } from './job-dispatch.ts'
import type { JobEndings } from './job-endings.ts'
import type { JobHub } from './job-hub.ts'
import type { LiveRings } from './live-rings.ts'
import type { Presence } from './presence.ts'
import type { RunningJobs } from './running-jobs.ts'
import type { Turns } from './turns.ts'
import type { Waiting } from './waiting.ts'

export interface JobsOptions {
  readonly jobStore: JobStore
  readonly jobQueueStore: JobQueueStore
  readonly ringStore: RingStore
  readonly poolStore: PoolStore
  readonly liveRings: LiveRings
  readonly runningJobs: RunningJobs
  readonly jobDispatch: JobDispatch
  readonly jobDeadlines: JobDeadlines
  readonly jobEndings: JobEndings
  readonly turns: Turns
  readonly waiting: Waiting
  readonly presence: Presence
  readonly hub: JobHub
  readonly credits: Credits
  readonly keys: Pick<ApiKeys, 'reserve'>
  readonly background: Background
  readonly events: Events
  readonly now: () => number
  /** How long it may take to end a job that was cancelled: a step that runs has to end first. */
  readonly cancelMs: number
}

/** Who asks for a job: a device, or an app by a key that the device made. */
export interface Submitter {
  readonly deviceId: string
  readonly keyId?: string
}

export class Jobs {
  readonly #options: JobsOptions

  constructor(options: JobsOptions) {
    this.#options = options
    options.events.on('keyRevoked', (keyId) => this.#cancelOfKey(keyId))
    options.events.on('ringDissolved', (ring) => this.#failWaiting(ring))
  }

  /**
   * @throws MeshError `ringEmpty` | `ringTooLarge` | `ringBlocked` | `promptTooLong` | `queueFull` | `requestInvalid` |
   * `keyQuotaExceeded` | `keyQuotaTooSmall`
   */
  submit(poolId: string, { deviceId: submittedBy, keyId = '' }: Submitter, submission: JobSubmission): Job {
    const { jobStore, jobQueueStore, liveRings, jobDispatch, hub, credits, keys, now } = this.#options
    checkAsked(submission)
    // first of all: whoever repeats a request gets the job, whatever happened to ring and queue meanwhile
    const known = jobStore.findByKey({ poolId, submittedBy, keyId, idempotencyKey: submission.idempotencyKey })
    if (known?.withheld) throw new MeshError('jobForgotten', { jobId: known.jobId, state: known.state })
    if (known) return known
    const ring = liveRings.serving(poolId, submission.modelId)
    if (!ring) throw new MeshError('ringEmpty', { modelId: submission.modelId })
    const obstacle = liveRings.obstacle(ring.ringId)
    if (obstacle) throw obstacle
    checkPromptLength(submission, ring.model)
    const bytes = Buffer.byteLength(JSON.stringify(submission))
    checkQueue(keyId, jobQueueStore.queued(poolId, submittedBy, keyId), bytes)
    const quotaTokens = keyId === '' ? 0 : keys.reserve(keyId, submission, ring.model.shape.context)
    credits.join(poolId, submittedBy) // before the job: one that is told to have failed must not run
    const { jobId } = jobStore.submit(newJobId(), { poolId, submittedBy, keyId, quotaTokens, submission }, now())
    hub.publish(jobId, jobStore.events(jobId, -1))
    jobDispatch.dispatch(ring.ringId)
    return jobStore.find(jobId) as Job
  }

  /** @throws MeshError `notFound` | `notAdmin` */
  cancel(poolId: string, jobId: string, by: Reader): Job {
    const job = this.find(poolId, jobId, by)
    if (job.submittedBy !== by.deviceId && !by.isAdmin) throw new MeshError('notAdmin', { poolId: shortId(poolId) })
    if (!finalStates.includes(job.state)) this.#cancel(jobId)
    return this.find(poolId, jobId, by)
  }

  /**
   * A job as its reader may see it: an app sees nothing but the jobs of its own key.
   * @throws MeshError `notFound`
   */
  find(poolId: string, jobId: string, by: Reader): Job {
    const job = this.#options.jobStore.find(jobId)
    const isHidden = by.keyId !== undefined && job?.keyId !== by.keyId
    if (job?.poolId !== poolId || isHidden) throw new MeshError('notFound', { what: 'job', id: jobId })
    return this.#shown(job, by)
  }

  /** The newest jobs of a pool, as their reader may see them. */
  list(poolId: string, limit: number, by: Reader): Job[] {
    return this.#options.jobStore.list(poolId, limit).map((job) => this.#shown(job, by))
  }

  /** A job whose text the reader may follow as it comes. @throws MeshError `notFound` | `jobPrivate` */
  follow(poolId: string, jobId: string, by: Reader): Job {
    const job = this.find(poolId, jobId, by)
    if (job.withheld === 'private') throw new MeshError('jobPrivate', { jobId, readers: this.#readers(poolId) })
    return job
  }

  /** Nobody serves that model any more: what waits for it would wait for ever. */
  #failWaiting({ ringId, poolId, modelId }: StoredRing): void {
    const { jobQueueStore, liveRings, jobEndings, turns, background } = this.#options
    turns.forget(ringId)
    background.untilStored(`waiting/${poolId}/${modelId}`, () => {
      if (liveRings.serving(poolId, modelId)) return // somebody came while it could not be stored
      for (const jobId of jobQueueStore.waiting(poolId, modelId))
        jobEndings.fail(jobId, new MeshError('ringEmpty', { modelId }))
    })
  }

  /** A key was revoked: nothing that was submitted with it goes on. */
  #cancelOfKey(keyId: string): void {
    for (const jobId of this.#options.jobQueueStore.openOfKey(keyId)) this.#cancel(jobId)
  }

  /** Ends an open job: at once while it waits, by its leader while it runs. */
  #cancel(jobId: string): void {
    const { jobStore, ringStore, runningJobs, jobDeadlines, jobEndings, waiting, presence, now, cancelMs } =
      this.#options
    const running = runningJobs.find(jobId)
    if (running) {
      jobStore.requestCancel(jobId, now()) // a leader that is away hears of it when it comes back
      presence.find(running.leader)?.socket.send({ type: 'job-cancel', jobId })
      // one that is there ends it at once, or when the step is over
      return jobDeadlines.watch(running, cancelMs)
    }
    jobEndings.cancel(jobId)
    const job = jobStore.find(jobId)
    const ring = job && ringStore.findByModel(job.poolId, job.submission.modelId)
    if (ring) waiting.changed(ring.ringId)
  }

  #shown(job: Job, by: Reader): Job {
    const terms = termsOf(this.#options.poolStore.find(job.poolId))
    return mayReadText(job, by, terms) ? job : withoutText(job, 'private')
  }

  #readers(poolId: string): string {
    const { adminsReadText } = termsOf(this.#options.poolStore.find(poolId))
    return `who submitted it reads it${adminsReadText ? ', and the admins of the pool' : ''}`
  }
}
