/** The life of jobs: queued, given to a ring, streamed, ended. */
import { MeshError } from '../../shared/errors.ts'
import { reportedBy } from '../../shared/peer-report.ts'
import type { ErrorReportJson } from '../../shared/schema/common.ts'
import { newJobId, shortId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import type { Job, JobSubmission } from '../../shared/schema/job.ts'
import { leaderReport } from '../domain/job-report.ts'
import { failedWith, finalStates, type JobMessage, type JobResult, reactionTo, resultOf } from '../domain/job-state.ts'
import { mayReadText, type Reader, type ReadingTerms, withoutText } from '../domain/job-readers.ts'
import { claimedTokens } from '../domain/job-tokens.ts'
import { type JobNews, type JobWatch, jobWatched, jobWatchFrom } from '../domain/job-watch.ts'
import { checkAsked, checkPromptLength } from '../domain/prompt-length.ts'
import { checkQueue } from '../domain/queue-limits.ts'
import type { JobStore } from '../store/job-store.ts'
import type { RingStore, StoredRing } from '../store/ring-store.ts'
import type { ApiKeys } from './api-keys.ts'
import type { Background } from './background.ts'
import type { Credits } from './credits.ts'
import type { JobHub } from './job-hub.ts'
import type { Agent, Presence } from './presence.ts'
import type { Rings } from './rings.ts'
import { Turns } from './turns.ts'
import { Waiting } from './waiting.ts'

export interface JobsOptions {
  readonly jobs: JobStore
  readonly ringStore: RingStore
  readonly rings: Rings
  readonly presence: Presence
  readonly hub: JobHub
  readonly credits: Credits
  readonly keys: Pick<ApiKeys, 'reserve'>
  /** What a pool was made to be. */
  readonly termsOf: (poolId: string) => ReadingTerms
  readonly background: Background
  readonly now: () => number
  readonly graceMs: number
  /** After a restart of the control plane agents need this long to find it again. */
  readonly leaseMs: number
  /** How long rank 0 may take to report a job that lost another rank. */
  readonly reportMs: number
  /** How long rank 0 may get on neither with reading a prompt nor with writing. */
  readonly stallMs: number
  /** How long it may take to end a job that was cancelled: a step that runs has to end first. */
  readonly cancelMs: number
  readonly logger: Logger
}

/** Who asks for a job: a device, or an app by a key that the device made. */
export interface Submitter {
  readonly deviceId: string
  readonly keyId?: string
}

/** The job that a ring runs. */
interface Running {
  readonly jobId: string
  readonly ringId: string
  readonly leader: string
  readonly leaderName: string
  /** When the ring got it. */
  readonly since: number
  /** Ends the job, unless the device `awaited` comes back or rank 0 is heard. */
  timer?: NodeJS.Timeout
  awaited?: string
  /** Tokens that it may read and write. */
  readonly most: { readonly read: number; readonly written: number }
  /** How rank 0 gets on, and when to look at that. */
  watch: JobWatch
  look?: NodeJS.Timeout
}

/** Milliseconds in which a leader that is there says something of its job. */
const leaderWordMs = 1000
const mostOf = ({ model }: StoredRing, { maxTokens }: Pick<JobSubmission, 'maxTokens'>): Running['most'] => ({
  read: model.shape.context,
  written: maxTokens,
})

const newsOf = (message: JobMessage): JobNews => {
  if (message.type === 'job-tokens') return { written: message.firstIndex + message.tokens.length }
  return message.type === 'job-started' ? { started: true } : {}
}

export class Jobs {
  readonly #options: JobsOptions
  readonly #running = new Map<string, Running>()
  readonly #turns: Turns
  readonly waiting: Waiting

  constructor(options: JobsOptions) {
    this.#options = options
    this.#turns = new Turns(options)
    this.waiting = new Waiting({
      ...options,
      turns: this.#turns,
      runningOn: (ringId) => this.#running.get(ringId)?.jobId,
    })
  }

  /** Jobs that ran when the control plane stopped: their leader may come back within the lease. */
  recover(): void {
    const { jobs, ringStore, background, now, leaseMs } = this.#options
    for (const { jobId, poolId, submission, epoch } of jobs.unfinished()) {
      const ring = ringStore.findByModel(poolId, submission.modelId)
      const leader = ring?.members[0]
      const lost = new MeshError('epochStale', { got: epoch, want: ring?.epoch ?? 'none' })
      if (!ring || !leader || ring.epoch !== epoch)
        background.untilStored(`job/${jobId}`, () => this.#fail(jobId, lost))
      else {
        const running: Running = {
          jobId,
          ringId: ring.ringId,
          leader: leader.deviceId,
          leaderName: leader.name,
          since: now(),
          most: mostOf(ring, submission),
          watch: jobWatchFrom(now()),
        }
        this.#running.set(ring.ringId, running)
        this.#watch(running)
        this.#endAfter(leaseMs, running, leader.deviceId, new MeshError('jobLost', { peer: leader.name }))
      }
    }
  }

  /** An agent is back. A leader goes on if it still has the job, and says so if it does not. */
  greet(agent: Agent): void {
    for (const running of this.#running.values()) {
      if (running.awaited === agent.deviceId) stopWaiting(running)
      if (running.leader !== agent.deviceId) continue
      const job = this.#options.jobs.find(running.jobId)
      if (job && !job.withheld) this.#assign(agent, running, job)
    }
  }

  isBusy(ringId: string): boolean {
    return this.#running.has(ringId)
  }

  /** @throws MeshError `ringEmpty` | `ringTooLarge` | `ringBlocked` | `promptTooLong` | `queueFull` | `requestInvalid` | `keyQuotaExceeded` | `keyQuotaTooSmall` */
  submit(poolId: string, { deviceId: submittedBy, keyId = '' }: Submitter, submission: JobSubmission): Job {
    const { jobs, rings, hub, credits, keys, now } = this.#options
    checkAsked(submission)
    // first of all: whoever repeats a request gets the job, whatever happened to ring and queue meanwhile
    const known = jobs.findByKey({ poolId, submittedBy, keyId, idempotencyKey: submission.idempotencyKey })
    if (known?.withheld) throw new MeshError('jobForgotten', { jobId: known.jobId, state: known.state })
    if (known) return known
    const ring = rings.serving(poolId, submission.modelId)
    if (!ring) throw new MeshError('ringEmpty', { modelId: submission.modelId })
    const obstacle = rings.obstacle(ring.ringId)
    if (obstacle) throw obstacle
    checkPromptLength(submission, ring.model)
    checkQueue(keyId, jobs.queued(poolId, submittedBy, keyId), Buffer.byteLength(JSON.stringify(submission)))
    const quotaTokens = keyId === '' ? 0 : keys.reserve(keyId, submission, ring.model.shape.context)
    credits.join(poolId, submittedBy) // before the job: one that is told to have failed must not run
    const { jobId } = jobs.submit(newJobId(), { poolId, submittedBy, keyId, quotaTokens, submission }, now())
    hub.publish(jobId, jobs.events(jobId, -1))
    this.dispatch(ring.ringId)
    return jobs.find(jobId) as Job
  }

  /** Gives a ring that is active and idle the next job: the members take turns by what they contribute. */
  dispatch(ringId: string): void {
    this.#options.background.untilStored(`dispatch/${ringId}`, () => this.#dispatch(ringId))
    this.waiting.changed(ringId)
  }

  #dispatch(ringId: string): void {
    const { jobs, ringStore, rings, presence, hub, now } = this.#options
    if (this.#running.has(ringId) || !rings.isActive(ringId)) return
    const ring = ringStore.find(ringId)
    const leader = ring && presence.find(ring.members[0]?.deviceId)
    const job = ring && leader && this.#turns.next(ring)
    if (!job) return
    if (job.withheld) return this.#failUnread(ring, job)
    const running: Running = {
      jobId: job.jobId,
      ringId,
      leader: leader.deviceId,
      leaderName: ring.members[0].name,
      since: now(),
      most: mostOf(ring, job.submission),
      watch: jobWatchFrom(now()),
    }
    const assigned = jobs.advance(job.jobId, 'assigned', {
      epoch: ring.epoch,
      worldSize: ring.members.length,
      now: now(),
    })
    this.#running.set(ringId, running) // only now: what is not stored does not run
    this.#watch(running)
    hub.publish(job.jobId, [assigned])
    this.#assign(leader, running, { ...job, epoch: ring.epoch })
  }

  /** Its prompt was sealed under another key of this control plane: nobody can run it. */
  #failUnread({ ringId, model }: StoredRing, { jobId, state }: Job): void {
    this.#turns.end(ringId, { tokens: 0, received: 0, ms: 0, context: model.shape.context })
    this.#fail(jobId, new MeshError('jobForgotten', { jobId, state }))
    this.#dispatch(ringId)
  }

  /** A message of rank 0. Only the leader that the job was given to is heard. */
  receive(agent: Agent, message: JobMessage): void {
    const { jobs, hub, now } = this.#options
    const { jobId } = message
    const running = [...this.#running.values()].find((one) => one.jobId === jobId)
    const head = jobs.head(jobId)
    const isLeader = running?.leader === agent.deviceId
    const reaction = reactionTo(message.type, head?.state, isLeader)
    if (running && isLeader) {
      stopWaiting(running)
      this.#gotOn(running, newsOf(message))
    }
    if (reaction === 'settle') agent.socket.send({ type: 'job-settled', jobId })
    else if (reaction === 'stop') agent.socket.send({ type: 'job-cancel', jobId })
    else if (reaction === 'start' && head) hub.publish(jobId, [jobs.advance(jobId, 'running', { ...head, now: now() })])
    else if (reaction === 'append' && message.type === 'job-tokens')
      hub.publish(jobId, [jobs.addTokens(jobId, message.firstIndex, message.tokens, message.text)])
    else if (reaction === 'finish' && running && (message.type === 'job-done' || message.type === 'job-failed')) {
      const members = this.#options.ringStore.find(running.ringId)?.members ?? []
      const said = message.type === 'job-failed' ? { ...message, error: leaderReport(members, message.error) } : message
      const result = resultOf(said, jobs.find(jobId) as Job, head?.isCancelled === true)
      this.#finish(running, result, () => agent.socket.send({ type: 'job-settled', jobId }))
    }
  }

  /** Rank 0 reads a long prompt. */
  progress(agent: Agent, jobId: string, read: number): void {
    const running = [...this.#running.values()].find((one) => one.jobId === jobId && one.leader === agent.deviceId)
    if (running) this.#gotOn(running, { read })
  }

  /** @throws MeshError `notFound` | `notAdmin` */
  cancel(poolId: string, jobId: string, by: Reader): Job {
    const job = this.find(poolId, jobId, by)
    if (job.submittedBy !== by.deviceId && !by.isAdmin) throw new MeshError('notAdmin', { poolId: shortId(poolId) })
    if (!finalStates.includes(job.state)) this.#cancel(jobId)
    return this.find(poolId, jobId, by)
  }

  /** A key was revoked: nothing that was submitted with it goes on. */
  cancelOfKey(keyId: string): void {
    for (const jobId of this.#options.jobs.openOfKey(keyId)) this.#cancel(jobId)
  }

  /**
   * A job as its reader may see it: an app sees nothing but the jobs of its own key.
   * @throws MeshError `notFound`
   */
  find(poolId: string, jobId: string, by: Reader): Job {
    const job = this.#options.jobs.find(jobId)
    const isHidden = by.keyId !== undefined && job?.keyId !== by.keyId
    if (job?.poolId !== poolId || isHidden) throw new MeshError('notFound', { what: 'job', id: jobId })
    return this.#shown(job, by)
  }

  /** The newest jobs of a pool, as their reader may see them. */
  list(poolId: string, limit: number, by: Reader): Job[] {
    return this.#options.jobs.list(poolId, limit).map((job) => this.#shown(job, by))
  }

  /** A job whose text the reader may follow as it comes. @throws MeshError `notFound` | `jobPrivate` */
  follow(poolId: string, jobId: string, by: Reader): Job {
    const job = this.find(poolId, jobId, by)
    if (job.withheld === 'private') throw new MeshError('jobPrivate', { jobId, readers: this.#readers(poolId) })
    return job
  }

  /** An agent went away. Its job fails when it does not return; a job that it only followed is reported by rank 0. */
  lose(deviceId: string): void {
    const { ringStore, graceMs, reportMs } = this.#options
    for (const running of this.#running.values()) {
      const member = ringStore.find(running.ringId)?.members.find((one) => one.deviceId === deviceId)
      if (running.leader === deviceId)
        this.#endAfter(graceMs, running, deviceId, new MeshError('jobLost', { peer: running.leaderName }))
      // the loss of the leader is the nearer end
      else if (member && running.awaited !== running.leader)
        this.#endAfter(
          reportMs,
          running,
          deviceId,
          new MeshError('peerLost', { peer: member.name, rank: member.rank, problem: 'its agent went away' }),
        )
    }
  }

  /**
   * A rank gave the epoch up. A leader that is there ends its job or goes on with it; of one that sleeps, or whose
   * process stands still, nothing more comes, and its lease would end much later.
   */
  memberFailed(ringId: string, deviceId: string, error: ErrorReportJson | undefined): void {
    const running = this.#running.get(ringId)
    const member = this.#options.ringStore.find(ringId)?.members.find((one) => one.deviceId === deviceId)
    if (!running || !member || !error || running.leader === deviceId || running.awaited === running.leader) return
    this.#endAfter(leaderWordMs, running, deviceId, reportedBy(member, error))
  }

  /** What runs there is spoiled: it fails at once. */
  failRunning(ringId: string, error: ErrorReportJson): void {
    const running = this.#running.get(ringId)
    if (running) this.#end(running, MeshError.fromReport(error))
  }

  /** A device was removed from the pool: a job that it takes part in ends at once. */
  expel(poolId: string, deviceId: string, error: MeshError): void {
    for (const running of this.#running.values()) {
      const ring = this.#options.ringStore.find(running.ringId)
      if (ring?.poolId === poolId && ring.members.some((member) => member.deviceId === deviceId))
        this.#end(running, error)
    }
  }

  /** Nobody serves that model any more: what waits for it would wait for ever. */
  failWaiting({ ringId, poolId, modelId }: StoredRing): void {
    this.#turns.forget(ringId)
    const { jobs, rings, background } = this.#options
    background.untilStored(`waiting/${poolId}/${modelId}`, () => {
      if (rings.serving(poolId, modelId)) return // somebody came while it could not be stored
      for (const jobId of jobs.waiting(poolId, modelId)) this.#fail(jobId, new MeshError('ringEmpty', { modelId }))
    })
  }

  #shown(job: Job, by: Reader): Job {
    return mayReadText(job, by, this.#options.termsOf(job.poolId)) ? job : withoutText(job, 'private')
  }

  #readers(poolId: string): string {
    const { adminsReadText } = this.#options.termsOf(poolId)
    return `who submitted it reads it${adminsReadText ? ', and the admins of the pool' : ''}`
  }

  stop(): void {
    for (const running of this.#running.values()) {
      stopWaiting(running)
      clearTimeout(running.look)
    }
    this.waiting.stop()
  }

  /** Ends an open job: at once while it waits, by its leader while it runs. */
  #cancel(jobId: string): void {
    const { jobs, hub, presence, ringStore, credits, now } = this.#options
    const running = [...this.#running.values()].find((one) => one.jobId === jobId)
    if (running) {
      jobs.requestCancel(jobId, now()) // a leader that is away hears of it when it comes back
      presence.find(running.leader)?.socket.send({ type: 'job-cancel', jobId })
      // one that is there ends it at once, or when the step is over
      this.#watch(running, this.#options.cancelMs)
    } else {
      credits.forget(jobId)
      hub.publish(
        jobId,
        jobs.finish(jobId, { state: 'cancelled', text: '', tokens: [], finishReason: 'cancelled' }, { now: now() }),
      )
      const job = jobs.find(jobId)
      const ring = job && ringStore.findByModel(job.poolId, job.submission.modelId)
      if (ring) this.waiting.changed(ring.ringId)
    }
  }

  #assign(leader: Agent, { ringId }: Running, { jobId, epoch, submission, createdAt }: Job): void {
    const { jobs, now } = this.#options
    leader.socket.send({
      type: 'job-assign',
      jobId,
      epoch,
      ringId,
      queuedMs: Math.max(0, now() - createdAt),
      submission: { ...submission, idempotencyKey: jobId },
    }) // the key is for who submitted it
    if (jobs.head(jobId)?.isCancelled) leader.socket.send({ type: 'job-cancel', jobId })
  }

  #gotOn(running: Running, news: JobNews): void {
    running.watch = jobWatched(running.watch, news, running.most, this.#options.now())
  }

  /** Ends the job when rank 0 does not get on with it. @param leftMs from now on, whatever it says meanwhile; absent: since it got on last */
  #watch(running: Running, leftMs?: number): void {
    const { stallMs, now, background } = this.#options
    clearTimeout(running.look)
    const look = (): void => {
      if (this.#running.get(running.ringId) !== running) return
      // what it said meanwhile could not be stored: it is asked to say it again
      if (background.problem) running.watch = { ...running.watch, at: now() }
      if (background.problem || (leftMs === undefined && now() - running.watch.at < stallMs))
        return this.#watch(running)
      const error = new MeshError('jobStalled', { peer: running.leaderName, seconds: (leftMs ?? stallMs) / 1000 })
      this.#end(running, error)
    }
    const waitMs = leftMs ?? Math.max(1, running.watch.at + stallMs - now())
    running.look = setTimeout(() => background.untilStored(`job/${running.jobId}`, look), waitMs).unref()
  }

  #endAfter(afterMs: number, running: Running, awaited: string, error: MeshError): void {
    stopWaiting(running)
    running.awaited = awaited
    const end = (): void => {
      // also when it is tried again: whoever was waited for may be back
      if (this.#running.get(running.ringId) === running && running.awaited === awaited) this.#end(running, error)
    }
    running.timer = setTimeout(() => this.#options.background.untilStored(`job/${running.jobId}`, end), afterMs).unref()
  }

  #end(running: Running, error: MeshError): void {
    const { jobs, presence } = this.#options
    const isCancelled = jobs.head(running.jobId)?.isCancelled === true
    presence.find(running.leader)?.socket.send({ type: 'job-cancel', jobId: running.jobId })
    this.#finish(
      running,
      failedWith(error.toReport(), jobs.find(running.jobId) as Job, isCancelled),
      undefined,
      error.toReport(),
    )
  }

  /** Ends a job that no ring has. */
  #fail(jobId: string, error: MeshError): void {
    const { jobs, hub, credits, now } = this.#options
    credits.forget(jobId)
    hub.publish(
      jobId,
      jobs.finish(
        jobId,
        failedWith(error.toReport(), jobs.find(jobId) as Job, jobs.head(jobId)?.isCancelled === true),
        { now: now() },
      ),
    )
  }

  /** @param stored called when the result cannot be lost any more @param why we ended it, whatever is told */
  #finish(running: Running, result: JobResult, stored: () => void = () => {}, why?: ErrorReportJson): void {
    const { jobs, hub, rings, ringStore, credits, now, logger } = this.#options
    const { jobId, ringId } = running
    const ring = ringStore.find(ringId)
    const job = jobs.find(jobId) as Job
    const tokens = claimedTokens(job, ring?.model.shape, result)
    const events = credits.end(job, ring, result, () => jobs.finish(jobId, result, { now: now(), tokens }))
    // only now: what is not stored has not ended
    stopWaiting(running)
    clearTimeout(running.look)
    this.#running.delete(ringId)
    this.#turns.end(ringId, {
      tokens,
      received: result.tokens.length,
      ms: now() - running.since,
      context: ring?.model.shape.context,
    })
    hub.publish(jobId, events)
    stored()
    logger.info({ job: jobId, state: result.state, code: result.error?.code }, 'job ended')
    if (result.state !== 'cancelled' || why) rings.jobEnded(ringId, result.error ?? why)
    rings.evaluate(ringId)
    this.dispatch(ringId)
  }
}

const stopWaiting = (running: Running): void => {
  clearTimeout(running.timer)
  running.awaited = undefined
}
