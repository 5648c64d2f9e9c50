/** What happens to running jobs: what their rank 0 says, who comes, goes and fails. */
import { MeshError } from '../../shared/errors.ts'
import type { ErrorReportJson } from '../../shared/schema/common.ts'
import type { Job } from '../../shared/schema/job.ts'
import { failureOf, lossOf } from '../domain/job-loss.ts'
import { leaderReport } from '../domain/job-report.ts'
import { type JobMessage, reactionTo, resultOf } from '../domain/job-state.ts'
import { newsOf } from '../domain/job-watch.ts'
import type { JobHead, JobStore } from '../store/job-store.ts'
import type { RingStore } from '../store/ring-store.ts'
import type { Events } from './events.ts'
import type { JobDeadlines } from './job-deadlines.ts'
import type { JobDispatch } from './job-dispatch.ts'
import type { JobEndings } from './job-endings.ts'
import type { JobHub } from './job-hub.ts'
import type { Agent } from './presence.ts'
import type { RunningJob, RunningJobs } from './running-jobs.ts'

export interface JobLeadersOptions {
  readonly jobStore: JobStore
  readonly ringStore: RingStore
  readonly runningJobs: RunningJobs
  readonly jobEndings: JobEndings
  readonly jobDeadlines: JobDeadlines
  readonly jobDispatch: JobDispatch
  readonly hub: JobHub
  readonly events: Events
  readonly now: () => number
  readonly graceMs: number
  /** How long rank 0 may take to report a job that lost another rank. */
  readonly reportMs: number
}

type EndMessage = Extract<JobMessage, { type: 'job-done' | 'job-failed' }>

export class JobLeaders {
  readonly #options: JobLeadersOptions

  constructor(options: JobLeadersOptions) {
    this.#options = options
    options.events.on('memberFailed', (ringId, deviceId, error) => this.#memberFailed(ringId, deviceId, error))
  }

  /** An agent is back. A leader goes on if it still has the job, and says so if it does not. */
  greet(agent: Agent): void {
    const { runningJobs, jobStore, jobDispatch } = this.#options
    for (const running of runningJobs.all()) {
      if (running.awaited === agent.deviceId) running.stopWaiting()
      if (running.leader !== agent.deviceId) continue
      const job = jobStore.find(running.jobId)
      if (job && !job.withheld) jobDispatch.assign(agent, running, job)
    }
  }

  /** A message of rank 0. Only the leader that the job was given to is heard. */
  receive(agent: Agent, message: JobMessage): void {
    const { runningJobs, jobStore, hub, now } = this.#options
    const { jobId } = message
    const running = runningJobs.find(jobId)
    const head = jobStore.head(jobId)
    const isLeader = running?.leader === agent.deviceId
    const reaction = reactionTo(message.type, head?.state, isLeader)
    if (running && isLeader) {
      running.stopWaiting()
      running.gotOn(newsOf(message), now())
    }
    if (reaction === 'settle') agent.socket.send({ type: 'job-settled', jobId })
    else if (reaction === 'stop') agent.socket.send({ type: 'job-cancel', jobId })
    else if (reaction === 'start' && head)
      hub.publish(jobId, [jobStore.advance(jobId, 'running', { ...head, now: now() })])
    else if (reaction === 'append' && message.type === 'job-tokens')
      hub.publish(jobId, [jobStore.addTokens(jobId, message.firstIndex, message.tokens, message.text)])
    else if (reaction === 'finish' && running && (message.type === 'job-done' || message.type === 'job-failed'))
      this.#finish(agent, running, message, head)
  }

  /** Rank 0 reads a long prompt. */
  progress(agent: Agent, jobId: string, read: number): void {
    const { runningJobs, now } = this.#options
    const running = runningJobs.find(jobId)
    if (running?.leader === agent.deviceId) running.gotOn({ read }, now())
  }

  /** An agent went away. Its job fails when it does not return; a job that it only followed is reported by rank 0. */
  lose(deviceId: string): void {
    const { runningJobs, jobDeadlines } = this.#options
    for (const running of runningJobs.all()) {
      const loss = lossOf(deviceId, running, this.#membersOf(running), this.#options)
      if (loss) jobDeadlines.endAfter(loss, running, deviceId)
    }
  }

  /** What runs there is spoiled: it fails at once. */
  failRunning(ringId: string, error: ErrorReportJson): void {
    const running = this.#options.runningJobs.on(ringId)
    if (running) this.#options.jobEndings.end(running, MeshError.fromReport(error))
  }

  /** A device was removed from the pool: a job that it takes part in ends at once. */
  expel(poolId: string, deviceId: string, error: MeshError): void {
    const { runningJobs, ringStore, jobEndings } = this.#options
    for (const running of runningJobs.all()) {
      const ring = ringStore.find(running.ringId)
      if (ring?.poolId === poolId && ring.members.some((member) => member.deviceId === deviceId))
        jobEndings.end(running, error)
    }
  }

  #memberFailed(ringId: string, deviceId: string, error: ErrorReportJson | undefined): void {
    const { runningJobs, jobDeadlines } = this.#options
    const running = runningJobs.on(ringId)
    const loss = running && failureOf(deviceId, running, this.#membersOf(running), error)
    if (loss) jobDeadlines.endAfter(loss, running, deviceId)
  }

  #finish(agent: Agent, running: RunningJob, message: EndMessage, head: JobHead | undefined): void {
    const { jobStore, jobEndings } = this.#options
    const { jobId } = running
    const said =
      message.type === 'job-failed'
        ? { ...message, error: leaderReport(this.#membersOf(running), message.error) }
        : message
    const result = resultOf(said, jobStore.find(jobId) as Job, head?.isCancelled === true)
    jobEndings.finish(running, result, { stored: () => agent.socket.send({ type: 'job-settled', jobId }) })
  }

  #membersOf({ ringId }: RunningJob) {
    return this.#options.ringStore.find(ringId)?.members ?? []
  }
}
