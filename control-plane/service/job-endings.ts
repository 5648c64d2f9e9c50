/** How jobs end: stored, billed, told to who follows them; and the ring has its hands free. */
import type { MeshError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { ErrorReportJson } from '../../shared/schema/common.ts'
import type { Job } from '../../shared/schema/job.ts'
import { failedWith, type JobResult } from '../domain/job-state.ts'
import { claimedTokens } from '../domain/job-tokens.ts'
import type { JobStore } from '../store/job-store.ts'
import type { RingStore } from '../store/ring-store.ts'
import type { Credits } from './credits.ts'
import type { Events } from './events.ts'
import type { JobHub } from './job-hub.ts'
import type { Presence } from './presence.ts'
import type { RingEpochs } from './ring-epochs.ts'
import type { RingReports } from './ring-reports.ts'
import type { RunningJob, RunningJobs } from './running-jobs.ts'
import type { Turns } from './turns.ts'

export interface JobEndingsOptions {
  readonly jobStore: JobStore
  readonly ringStore: RingStore
  readonly ringReports: Pick<RingReports, 'jobEnded'>
  readonly ringEpochs: Pick<RingEpochs, 'evaluate'>
  readonly runningJobs: RunningJobs
  readonly turns: Turns
  readonly credits: Credits
  readonly hub: JobHub
  readonly presence: Presence
  readonly events: Events
  readonly now: () => number
  readonly logger: Logger
}

interface Ending {
  /** Called when the result cannot be lost any more. */
  stored?(): void
  /** Why we ended it, whatever is told. */
  readonly why?: ErrorReportJson
}

export class JobEndings {
  readonly #options: JobEndingsOptions

  constructor(options: JobEndingsOptions) {
    this.#options = options
  }

  /** A job that a ring runs ends with that result. */
  finish(running: RunningJob, result: JobResult, { stored, why }: Ending = {}): void {
    const { jobStore, ringStore, ringReports, ringEpochs, runningJobs, credits, hub, events, now, logger } =
      this.#options
    const { jobId, ringId } = running
    const ring = ringStore.find(ringId)
    const job = jobStore.find(jobId) as Job
    const tokens = claimedTokens(job, ring?.model.shape, result)
    const told = credits.end(job, ring, { result, tokens }, () =>
      jobStore.finish(jobId, result, { now: now(), tokens }),
    )
    runningJobs.delete(running) // only now: what is not stored has not ended
    const { context } = ring?.model.shape ?? {}
    const used = { tokens, received: result.tokens.length, ms: now() - running.since, context }
    this.#options.turns.end(ringId, used)
    hub.publish(jobId, told)
    stored?.()
    logger.info({ job: jobId, state: result.state, code: result.error?.code }, 'job ended')
    if (result.state !== 'cancelled' || why) ringReports.jobEnded(ringId, result.error ?? why)
    ringEpochs.evaluate(ringId)
    events.emit('ringFree', ringId)
  }

  /** We end a job that a ring runs. */
  end(running: RunningJob, error: MeshError): void {
    const { jobId } = running
    this.#options.presence.find(running.leader)?.socket.send({ type: 'job-cancel', jobId })
    this.finish(running, this.#failure(jobId, error), { why: error.toReport() })
  }

  /** Ends a job that no ring has. */
  fail(jobId: string, error: MeshError): void {
    this.#conclude(jobId, this.#failure(jobId, error))
  }

  /** The same for somebody who wants it. */
  cancel(jobId: string): void {
    this.#conclude(jobId, { state: 'cancelled', text: '', tokens: [], finishReason: 'cancelled' })
  }

  #conclude(jobId: string, result: JobResult): void {
    const { jobStore, credits, hub, now } = this.#options
    credits.forget(jobId)
    hub.publish(jobId, jobStore.finish(jobId, result, { now: now() }))
  }

  #failure(jobId: string, error: MeshError): JobResult {
    const { jobStore } = this.#options
    const isCancelled = jobStore.head(jobId)?.isCancelled === true
    return failedWith(error.toReport(), jobStore.find(jobId) as Job, isCancelled)
  }
}
