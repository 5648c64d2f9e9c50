/** Gives jobs to rings. */
import { MeshError } from '../../shared/errors.ts'
import type { Job } from '../../shared/schema/job.ts'
import type { JobStore } from '../store/job-store.ts'
import type { RingStore, StoredRing } from '../store/ring-store.ts'
import type { Background } from './background.ts'
import type { Events } from './events.ts'
import type { JobDeadlines } from './job-deadlines.ts'
import type { JobEndings } from './job-endings.ts'
import type { JobHub } from './job-hub.ts'
import type { LiveRings } from './live-rings.ts'
import type { Agent, Presence } from './presence.ts'
import { RunningJob, type RunningJobs } from './running-jobs.ts'
import type { Turns } from './turns.ts'
import type { Waiting } from './waiting.ts'

export interface JobDispatchOptions {
  readonly jobStore: JobStore
  readonly ringStore: RingStore
  readonly liveRings: LiveRings
  readonly runningJobs: RunningJobs
  readonly turns: Turns
  readonly waiting: Waiting
  readonly jobEndings: JobEndings
  readonly jobDeadlines: JobDeadlines
  readonly presence: Presence
  readonly hub: JobHub
  readonly background: Background
  readonly events: Events
  readonly now: () => number
  /** After a restart of the control plane agents need this long to find it again. */
  readonly leaseMs: number
}

export class JobDispatch {
  readonly #options: JobDispatchOptions

  constructor(options: JobDispatchOptions) {
    this.#options = options
    options.events.on('ringActive', (ringId) => this.dispatch(ringId))
    options.events.on('ringFree', (ringId) => this.dispatch(ringId))
  }

  /** Jobs that ran when the control plane stopped: their leader may come back within the lease. */
  recover(): void {
    const { jobStore, ringStore, runningJobs, jobEndings, jobDeadlines, background, now, leaseMs } = this.#options
    for (const { jobId, poolId, submission, epoch } of jobStore.unfinished()) {
      const ring = ringStore.findByModel(poolId, submission.modelId)
      const leader = ring?.members[0]
      const lost = new MeshError('epochStale', { got: epoch, want: ring?.epoch ?? 'none' })
      if (!ring || !leader || ring.epoch !== epoch)
        background.untilStored(`job/${jobId}`, () => jobEndings.fail(jobId, lost))
      else {
        const running = new RunningJob(ring, { jobId, maxTokens: submission.maxTokens }, now())
        runningJobs.add(running)
        jobDeadlines.watch(running)
        const error = new MeshError('jobLost', { peer: leader.name })
        jobDeadlines.endAfter({ afterMs: leaseMs, error }, running, leader.deviceId)
      }
    }
  }

  /** Gives a ring that is active and idle the next job: the members take turns by what they contribute. */
  dispatch(ringId: string): void {
    this.#options.background.untilStored(`dispatch/${ringId}`, () => this.#dispatch(ringId))
    this.#options.waiting.changed(ringId)
  }

  /** Tells rank 0 of its job, once more where it comes back. */
  assign(leader: Agent, { ringId }: RunningJob, { jobId, epoch, submission, createdAt }: Job): void {
    const { jobStore, now } = this.#options
    leader.socket.send({
      type: 'job-assign',
      jobId,
      epoch,
      ringId,
      queuedMs: Math.max(0, now() - createdAt),
      submission: { ...submission, idempotencyKey: jobId },
    }) // the key is for who submitted it
    if (jobStore.head(jobId)?.isCancelled) leader.socket.send({ type: 'job-cancel', jobId })
  }

  #dispatch(ringId: string): void {
    const { jobStore, ringStore, liveRings, runningJobs, turns, jobDeadlines, presence, hub, now } = this.#options
    if (runningJobs.isBusy(ringId) || !liveRings.isActive(ringId)) return
    const ring = ringStore.find(ringId)
    const leader = ring && presence.find(ring.members[0]?.deviceId)
    const job = ring && leader && turns.next(ring)
    if (!job) return
    if (job.withheld) return this.#failUnread(ring, job)
    const { jobId, submission } = job
    const running = new RunningJob(ring, { jobId, maxTokens: submission.maxTokens }, now())
    const at = { epoch: ring.epoch, worldSize: ring.members.length, now: now() }
    const assigned = jobStore.advance(jobId, 'assigned', at)
    runningJobs.add(running) // only now: what is not stored does not run
    jobDeadlines.watch(running)
    hub.publish(jobId, [assigned])
    this.assign(leader, running, { ...job, epoch: ring.epoch })
  }

  /** Its prompt was sealed under another key of this control plane: nobody can run it. */
  #failUnread({ ringId, model }: StoredRing, { jobId, state }: Job): void {
    const { turns, jobEndings } = this.#options
    turns.end(ringId, { tokens: 0, received: 0, ms: 0, context: model.shape.context })
    jobEndings.fail(jobId, new MeshError('jobForgotten', { jobId, state }))
    this.#dispatch(ringId)
  }
}
