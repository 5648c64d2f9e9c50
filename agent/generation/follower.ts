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

const giveUp = async (
  { channel, logger, silence }: Pick<FollowerOptions, 'channel' | 'logger'> & { readonly silence: Silence },
  run: Current,
  error: unknown,
): Promise<void> => {
  const { job } = run
  run.failed = true
  silence.expect(abortMs)
  const report = MeshError.from(error).toReport()
  logger.warn({ job, error: report }, 'job failed on this rank')
  await channel.sendControl(0, { type: 'abort', job, error: report }).catch(() => {})
}

export const startFollower = ({
  engine,
  channel,
  logger,
  onSettings,
  onLost,
  onBusy,
  onWork,
  leaderName,
  stepTimeoutMs,
}: FollowerOptions): Follower => {
  let current: Current | undefined
  /** Messages are worked off one after another, in the order in which rank 0 sent them. */
  let last: Promise<void> = Promise.resolve()
  /** Messages that are not worked off yet. */
  let waiting = 0
  const silence = new Silence(() => leave(silentPeer({ rank: 0, name: leaderName }, stepTimeoutMs)))

  const close = (outcome: JobOutcome): void => {
    if (current === undefined) return
    const { jobId, history, computeMs } = current
    silence.end()
    current = undefined
    onBusy(false)
    onWork({ jobId, tokens: history.length, computeMs }, outcome)
  }

  const leave = (error: Error): void => {
    close('failed')
    onLost(error)
  }

  const end = async (job: number, outcome: JobOutcome): Promise<void> => {
    if (current?.job !== job) return
    close(current.failed ? 'failed' : outcome)
    channel.forgetJob(job)
    engine.forget?.(job)
    await engine.release(job)
  }

  const work = async (message: RingControl): Promise<void> => {
    if (message.type === 'job-start') {
      if (current !== undefined) await end(current.job, 'failed') // rank 0 never said that it ended
      current = {
        job: message.job,
        jobId: message.jobId,
        sampling: message.sampling,
        history: [],
        computeMs: 0,
        failed: false,
      }
      onSettings(message.collective)
      onBusy(true)
    } else if (message.type === 'step' || message.type === 'logits') await takePart(engine, channel, current, message)
    else await end(message.job, message.type === 'job-end' ? 'done' : 'failed')
  }

  const workAfter = async (before: Promise<void>, message: RingControl): Promise<void> => {
    await before
    try {
      await work(message)
    } catch (error) {
      if (current && !current.failed) await giveUp({ channel, logger, silence }, current, error)
    }
    // rank 0 waits as long for a third rank as this one for it, and then says so
    if (--waiting === 0 && current !== undefined && !current.failed) silence.expect(stepTimeoutMs + abortMs)
  }

  channel.onControl({
    message: (from, message) => {
      if (from !== 0) return
      silence.end()
      waiting++
      // An abort must not wait behind the step that it ends.
      if (message.type === 'abort') {
        channel.forgetJob(message.job)
        engine.forget?.(message.job)
      }
      last = workAfter(last, message)
    },
    lost: (_, error) => leave(error),
  })
  return { close: () => close('failed') }
}
