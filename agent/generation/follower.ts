/** The other end of the token loop: ranks 1 and up run the steps that rank 0 names and send it their candidates. */
import { MeshError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { Sampling } from '../../shared/schema/job.ts'
import type { RingControl } from '../../shared/wire/envelope.ts'
import type { Channel } from '../channel/channel.ts'
import type { CollectiveSettings } from '../collective/chooser.ts'
import type { Engine } from '../engine/engine.ts'
import { silentPeer } from '../channel/peer-errors.ts'
import { type DrawnRow, sendCandidates, sendLogits } from './draw.ts'
import type { RankWork } from './protocol.ts'
import { Silence } from './silence.ts'

/** How a job ended for the ring. One that was cancelled is done: what it had is the answer. */
export type JobOutcome = 'done' | 'failed'

export interface FollowerOptions {
  readonly engine: Engine
  readonly channel: Channel
  readonly logger: Logger
  /** Rank 0 said how the ranks sum from now on. */
  onSettings(settings: CollectiveSettings): void
  /** Called when a link breaks, or rank 0 says nothing any more: the epoch is over. */
  onLost(error: Error): void
  /** Name of rank 0. */
  readonly leaderName: string
  /** How long rank 0 may be silent while a job runs and this rank has nothing to do. */
  readonly stepTimeoutMs: number
  /** Called when a job starts and when it ends. */
  onBusy(busy: boolean): void
  /** Called when a job ends, however it does. */
  onWork(work: RankWork, outcome: JobOutcome): void
}

/** Milliseconds in which rank 0 answers an abort. */
const abortMs = 1000

export interface Follower {
  /** The epoch is over: what was done of a job counts, although nobody will say any more that it ended. */
  close(): void
}

/** The job that runs: its tokens so far feed the repetition penalty. */
interface Current {
  readonly job: number
  readonly jobId: string
  readonly sampling: Sampling
  readonly history: number[]
  computeMs: number
  failed: boolean
  /** Of the last step; its logits hold until the next one. */
  row?: DrawnRow
}

type StepMessage = Extract<RingControl, { type: 'step' | 'logits' }>

/** Runs a step and sends its candidates, or all logits of the last step. */
const takePart = async (
  engine: Engine,
  channel: Channel,
  run: Current | undefined,
  message: StepMessage,
): Promise<void> => {
  if (run?.job !== message.job || run.failed) return
  if (message.type === 'logits') return sendLogits(run.row, message, channel)
  for (const { tokens } of message.sequences) run.history.push(...tokens)
  const { job, step, sequences } = message
  const { rows, times } = await engine.step({ job, step, sequences, jobId: run.jobId })
  run.computeMs += times.computeMs
  for (const { logits } of rows) {
    run.row = {
      job: message.job,
      step: message.step,
      vocabStart: engine.vocabStart,
      logits,
      history: run.history,
      sampling: run.sampling,
    }
    await sendCandidates(run.row, channel)
  }
}

/** Works off what rank 0 says, one message after another, in the order in which it came. */
class FollowerLoop {
  readonly #options: FollowerOptions
  readonly #silence: Silence
  #current: Current | undefined
  #last: Promise<void> = Promise.resolve()
  /** Messages that are not worked off yet. */
  #waiting = 0

  constructor(options: FollowerOptions) {
    const { leaderName, stepTimeoutMs } = options
    this.#options = options
    this.#silence = new Silence(() => this.leave(silentPeer({ rank: 0, name: leaderName }, stepTimeoutMs)))
  }

  receive(message: RingControl): void {
    const { channel, engine } = this.#options
    this.#silence.end()
    this.#waiting++
    // An abort must not wait behind the step that it ends.
    if (message.type === 'abort') {
      channel.forgetJob(message.job)
      engine.forget?.(message.job)
    }
    this.#last = this.#workAfter(this.#last, message)
  }

  leave(error: Error): void {
    this.close('failed')
    this.#options.onLost(error)
  }

  close(outcome: JobOutcome): void {
    if (this.#current === undefined) return
    const { onBusy, onWork } = this.#options
    const { jobId, history, computeMs } = this.#current
    this.#silence.end()
    this.#current = undefined
    onBusy(false)
    onWork({ jobId, tokens: history.length, computeMs }, outcome)
  }

  async #workAfter(before: Promise<void>, message: RingControl): Promise<void> {
    await before
    try {
      await this.#work(message)
    } catch (error) {
      if (this.#current && !this.#current.failed) await this.#giveUp(this.#current, error)
    }
    // rank 0 waits as long for a third rank as this one for it, and then says so
    if (--this.#waiting === 0 && this.#current !== undefined && !this.#current.failed)
      this.#silence.expect(this.#options.stepTimeoutMs + abortMs)
  }

  async #work(message: RingControl): Promise<void> {
    const { engine, channel } = this.#options
    if (message.type === 'job-start') await this.#begin(message)
    else if (message.type === 'step' || message.type === 'logits')
      await takePart(engine, channel, this.#current, message)
    else await this.#end(message.job, message.type === 'job-end' ? 'done' : 'failed')
  }

  async #begin({ job, jobId, sampling, collective }: Extract<RingControl, { type: 'job-start' }>): Promise<void> {
    const { onSettings, onBusy } = this.#options
    if (this.#current !== undefined) await this.#end(this.#current.job, 'failed') // rank 0 never said that it ended
    this.#current = { job, jobId, sampling, history: [], computeMs: 0, failed: false }
    onSettings(collective)
    onBusy(true)
  }

  async #end(job: number, outcome: JobOutcome): Promise<void> {
    const { channel, engine } = this.#options
    if (this.#current?.job !== job) return
    this.close(this.#current.failed ? 'failed' : outcome)
    channel.forgetJob(job)
    engine.forget?.(job)
    await engine.release(job)
  }

  async #giveUp(run: Current, error: unknown): Promise<void> {
    const { channel, logger } = this.#options
    const { job } = run
    run.failed = true
    this.#silence.expect(abortMs)
    const report = MeshError.from(error).toReport()
    logger.warn({ job, error: report }, 'job failed on this rank')
    await channel.sendControl(0, { type: 'abort', job, error: report }).catch(() => {})
  }
}

export const startFollower = (options: FollowerOptions): Follower => {
  const loop = new FollowerLoop(options)
  options.channel.onControl({
    message: (from, message) => {
      if (from === 0) loop.receive(message)
    },
    lost: (_, error) => loop.leave(error),
  })
  return { close: () => loop.close('failed') }
}
