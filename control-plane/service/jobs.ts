/** The life of jobs: queued, given to a ring, streamed, ended. */
import type { AgentMessage } from '../../shared/api/messages.ts'
import { MeshError } from '../../shared/errors.ts'
import { newJobId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import type { Job, JobSubmission } from '../../shared/schema/job.ts'
import { limits } from '../../shared/wire/limits.ts'
import { finalStates, type JobResult, type JobStore } from '../store/job-store.ts'
import type { RingStore } from '../store/ring-store.ts'
import type { JobHub } from './job-hub.ts'
import type { Agent, Presence } from './presence.ts'
import type { Rings } from './rings.ts'

export interface JobsOptions {
  readonly jobs: JobStore
  readonly ringStore: RingStore
  readonly rings: Rings
  readonly presence: Presence
  readonly hub: JobHub
  readonly now: () => number
  readonly graceMs: number
  /** After a restart of the control plane agents need this long to find it again. */
  readonly leaseMs: number
  readonly logger: Logger
}

/** The job that a ring runs. */
interface Running {
  readonly jobId: string
  readonly ringId: string
  readonly leader: string
  readonly leaderName: string
  timer: NodeJS.Timeout | undefined
}

type JobMessage = Extract<AgentMessage, { jobId: string }>

/** How long rank 0 may take to report a job that lost another rank. */
const reportMs = 10_000

export class Jobs {
  readonly #options: JobsOptions
  readonly #running = new Map<string, Running>()

  constructor(options: JobsOptions) {
    this.#options = options
  }

  /** Jobs that ran when the control plane stopped: their leader may come back within the grace time. */
  recover(): void {
    const { jobs, ringStore } = this.#options
    for (const { jobId, poolId, submission, epoch } of jobs.unfinished()) {
      const ring = ringStore.findByModel(poolId, submission.modelId)
      const leader = ring?.members[0]
      if (!ring || !leader || ring.epoch !== epoch) this.#fail(jobId, new MeshError('jobLost', { peer: 'a ring that is gone' }))
      else {
        const running: Running = { jobId, ringId: ring.ringId, leader: leader.deviceId, leaderName: leader.name, timer: undefined }
        this.#running.set(ring.ringId, running)
        this.#giveUpLater(running, this.#options.leaseMs)
      }
    }
  }

  /** The leader is back: it goes on if it still has the job, and says so if it does not. */
  greet(agent: Agent): void {
    for (const running of this.#running.values()) {
      const job = running.leader === agent.deviceId ? this.#options.jobs.find(running.jobId) : undefined
      if (!job) continue
      clearTimeout(running.timer)
      agent.socket.send({ type: 'job-assign', jobId: job.jobId, epoch: job.epoch, ringId: running.ringId, queuedMs: 0, submission: job.submission })
    }
  }

  isBusy(ringId: string): boolean {
    return this.#running.has(ringId)
  }

  /** @throws MeshError `ringEmpty` | `overloaded` | `requestInvalid` */
  submit(poolId: string, submittedBy: string, submission: JobSubmission): Job {
    const { jobs, rings, hub, now } = this.#options
    if ((submission.prompt === undefined) === (submission.messages === undefined)) throw new MeshError('requestInvalid', { problem: 'give either prompt or messages' })
    const ring = rings.serving(poolId, submission.modelId)
    if (!ring) throw new MeshError('ringEmpty', { modelId: submission.modelId })
    if (jobs.queued(poolId) >= limits.queuedJobs) throw new MeshError('overloaded', { what: 'the queue of this pool', limit: limits.queuedJobs })
    const { job, isNew } = jobs.submit(newJobId(), { poolId, submittedBy, submission }, now())
    if (isNew) {
      hub.publish(job.jobId, jobs.events(job.jobId, -1))
      this.dispatch(ring.ringId)
    }
    return jobs.find(job.jobId) as Job
  }

  /** Gives the next job to a ring that is active and idle. */
  dispatch(ringId: string): void {
    const { jobs, ringStore, rings, presence, hub, now } = this.#options
    if (this.#running.has(ringId) || !rings.isActive(ringId)) return
    const ring = ringStore.find(ringId)
    const leader = ring && presence.find(ring.members[0]?.deviceId)
    const job = ring && leader && jobs.next(ring.poolId, ring.modelId)
    if (!job) return
    this.#running.set(ringId, { jobId: job.jobId, ringId, leader: leader.deviceId, leaderName: ring.members[0].name, timer: undefined })
    hub.publish(job.jobId, [jobs.advance(job.jobId, 'assigned', { epoch: ring.epoch, worldSize: ring.members.length, now: now() })])
    leader.socket.send({ type: 'job-assign', jobId: job.jobId, epoch: ring.epoch, ringId, queuedMs: Math.max(0, now() - job.createdAt), submission: job.submission })
  }

  /** A message of rank 0. Only the leader that the job was given to is heard. */
  receive(agent: Agent, message: JobMessage): void {
    const { jobs, hub, now } = this.#options
    const running = [...this.#running.values()].find(({ jobId }) => jobId === message.jobId)
    const job = jobs.find(message.jobId)
    if (!job || finalStates.includes(job.state)) return agent.socket.send({ type: 'job-settled', jobId: message.jobId })
    if (running?.leader !== agent.deviceId) return
    clearTimeout(running.timer)
    if (message.type === 'job-started') hub.publish(job.jobId, [jobs.advance(job.jobId, 'running', { epoch: job.epoch, worldSize: job.worldSize, now: now() })])
    else if (message.type === 'job-tokens') hub.publish(job.jobId, [jobs.addTokens(job.jobId, message.firstIndex, message.tokens, message.text)])
    else {
      const result: JobResult = message.type === 'job-failed' ? { state: 'failed', text: job.text, tokens: job.tokens, error: message.error } : resultOf(message)
      this.#finish(running, result, () => agent.socket.send({ type: 'job-settled', jobId: job.jobId }))
    }
  }

  /** @throws MeshError `notFound` | `notAdmin` */
  cancel(poolId: string, jobId: string, by: { readonly deviceId: string; readonly isAdmin: boolean }): Job {
    const { jobs, hub, presence, now } = this.#options
    const job = this.find(poolId, jobId)
    if (job.submittedBy !== by.deviceId && !by.isAdmin) throw new MeshError('notAdmin', { poolId })
    if (finalStates.includes(job.state)) return job
    const running = [...this.#running.values()].find((one) => one.jobId === jobId)
    if (running) presence.find(running.leader)?.socket.send({ type: 'job-cancel', jobId })
    else hub.publish(jobId, jobs.finish(jobId, { state: 'cancelled', text: '', tokens: [], finishReason: 'cancelled' }, now()))
    return jobs.find(jobId) as Job
  }

  /** @throws MeshError `notFound` */
  find(poolId: string, jobId: string): Job {
    const job = this.#options.jobs.find(jobId)
    if (!job || job.poolId !== poolId) throw new MeshError('notFound', { what: 'job', id: jobId })
    return job
  }

  /** An agent went away. Its job fails when it does not return; a job that it only followed is reported by rank 0. */
  lose(deviceId: string): void {
    const { ringStore } = this.#options
    for (const running of this.#running.values()) {
      const member = ringStore.find(running.ringId)?.members.find((one) => one.deviceId === deviceId)
      if (!member) continue
      if (running.leader === deviceId) this.#giveUpLater(running, this.#options.graceMs)
      else {
        clearTimeout(running.timer)
        running.timer = setTimeout(() => this.#end(running, new MeshError('peerLost', { peer: member.name, rank: member.rank, problem: 'its agent went away' })), reportMs).unref()
      }
    }
  }

  stop(): void {
    for (const { timer } of this.#running.values()) clearTimeout(timer)
  }

  #giveUpLater(running: Running, afterMs: number): void {
    clearTimeout(running.timer)
    running.timer = setTimeout(() => this.#end(running, new MeshError('jobLost', { peer: running.leaderName })), afterMs).unref()
  }

  #end(running: Running, error: MeshError): void {
    const job = this.#options.jobs.find(running.jobId)
    this.#finish(running, { state: 'failed', text: job?.text ?? '', tokens: job?.tokens ?? [], error: error.toReport() })
  }

  #fail(jobId: string, error: MeshError): void {
    const { jobs, hub, now } = this.#options
    const job = jobs.find(jobId)
    hub.publish(jobId, jobs.finish(jobId, { state: 'failed', text: job?.text ?? '', tokens: job?.tokens ?? [], error: error.toReport() }, now()))
  }

  /** @param stored called when the result cannot be lost any more */
  #finish(running: Running, result: JobResult, stored: () => void = () => {}): void {
    const { jobs, hub, rings, now, logger } = this.#options
    clearTimeout(running.timer)
    this.#running.delete(running.ringId)
    hub.publish(running.jobId, jobs.finish(running.jobId, result, now()))
    stored()
    logger.info({ job: running.jobId, state: result.state, code: result.error?.code }, 'job ended')
    rings.evaluate(running.ringId)
    this.dispatch(running.ringId)
  }
}

const resultOf = ({ finishReason, usage, timings, text, tokens }: Extract<JobMessage, { type: 'job-done' }>): JobResult => ({
  state: finishReason === 'cancelled' ? 'cancelled' : 'done', finishReason, usage, timings, text, tokens,
})
