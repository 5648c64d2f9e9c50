/** One prompt from submission to the last token. */
import { randomBytes, randomInt } from 'node:crypto'
import type { Client } from '../../shared/api/client.ts'
import { MeshError } from '../../shared/errors.ts'
import type { KeyPair } from '../../shared/identity/keys.ts'
import { signStatement } from '../../shared/identity/statement.ts'
import type { Job, JobEvent, JobSubmission, JobWaiting } from '../../shared/schema/job.ts'
import { limits } from '../../shared/limits.ts'
import type { OptionValues } from '../../shared/options.ts'
import type { CommandContext } from './command.ts'
import { followJob } from './job-stream.ts'

/** Options that describe a job. */
export const jobOptions = [
  'modelId',
  'prompt',
  'chat',
  'special',
  'maxTokens',
  'temperature',
  'topP',
  'topK',
  'minP',
  'repetitionPenalty',
  'seed',
  'stop',
] as const

type JobValues = OptionValues<(typeof jobOptions)[number]> & { readonly prompt: string }

/** @throws MeshError `promptEmpty` | `promptTooLarge` | `parameterInvalid` */
export const submissionOf = (values: JobValues): JobSubmission => {
  if (values.prompt.trim() === '') throw new MeshError('promptEmpty')
  if (values.prompt.length > limits.promptLength && [...values.prompt].length > limits.promptLength) {
    throw new MeshError('promptTooLarge', { limit: limits.promptLength.toLocaleString('en') })
  }
  if (values.stop.some((text) => text === ''))
    throw new MeshError('parameterInvalid', { name: '--stop', want: 'a text that is not empty', got: '""' })
  if (values.stop.length > 16)
    throw new MeshError('parameterInvalid', { name: '--stop', want: 'given 16 times at most', got: values.stop.length })
  return {
    modelId: values.modelId,
    ...(values.chat ? { messages: [{ role: 'user', content: values.prompt }] } : { prompt: values.prompt }),
    ...(values.special ? { special: true } : {}),
    maxTokens: values.maxTokens,
    sampling: {
      temperature: values.temperature,
      topK: values.topK,
      topP: values.topP,
      minP: values.minP,
      repetitionPenalty: values.repetitionPenalty,
      seed: values.seed ?? randomInt(2 ** 32),
    },
    stop: values.stop,
    idempotencyKey: randomBytes(16).toString('hex'),
  }
}

export interface JobProgress {
  readonly state: 'queued' | 'assigned' | 'running'
  readonly worldSize: number
  readonly tokens: number
  /** From the first to the latest token; 0 before the second. */
  readonly tokensPerSecond: number
  /** What it waits for, in words; absent while it does not, or nobody knows. */
  readonly waiting?: string
}

/** How the text that comes is read: as it is, or opened. */
export interface AnswerReader {
  /** What a further part of the text says. */
  text(part: string): string
  /** The job as its answer says it was. */
  end(job: Job): Job
}

const plainReader: AnswerReader = { text: (part) => part, end: (job) => job }

export interface JobRun {
  readonly context: CommandContext
  readonly client: Client
  /** Of this device: it signs what it used. Absent for an app, whose use is settled unsigned. */
  readonly key?: KeyPair
  readonly poolId: string
  readonly submission: JobSubmission
  /** Milliseconds that the job may wait for a ring, and the control plane may be away. */
  readonly waitMs: number
  /** Absent: text comes as it is. */
  readonly reader?: AnswerReader
  onText(text: string): void
  onProgress(progress: JobProgress): void
}

/** Cancelling must work while the command is being interrupted, and must not keep it from ending. */
const cancelQuietly = async ({ client, poolId, context }: JobRun, jobId: string): Promise<void> => {
  try {
    await client.call('cancelJob', { params: { poolId, jobId } })
  } catch (error) {
    context.logger.debug(MeshError.from(error).message)
  }
}

/** Signs what the job used, if that is what arrived here. Without this the job is settled too, later and unsigned. */
const confirmUse = async (
  { client, poolId, key, context }: JobRun,
  { jobId, epoch, usage, tokens }: Job,
): Promise<void> => {
  if (
    !key ||
    !usage ||
    usage.completionTokens !== tokens.length ||
    usage.totalTokens !== usage.promptTokens + tokens.length
  )
    return
  try {
    await client.call('confirmUse', {
      params: { poolId, jobId },
      body: signStatement(key, poolId, {
        kind: 'use',
        jobId,
        epoch,
        weights: 0,
        tokens: usage.totalTokens,
        computeUs: 0,
      }),
    })
  } catch (error) {
    context.logger.debug(MeshError.from(error).message)
  }
}

/** A time limit that counts only while the job waits. */
interface Patience {
  readonly signal: AbortSignal
  begin(): void
  end(): void
}

const createPatience = (waitMs: number): Patience => {
  const tooLate = new AbortController()
  let timer: NodeJS.Timeout | undefined
  return {
    signal: tooLate.signal,
    begin: () => void (timer ??= setTimeout(() => tooLate.abort(), waitMs)),
    end: () => {
      clearTimeout(timer)
      timer = undefined
    },
  }
}

/** `the ring is busy, 3 before you`, or why it takes no job. */
const waitingText = ({ before, reason }: JobWaiting): string | undefined => {
  const why = reason === '' && before > 0 ? 'the ring is busy' : reason
  return why === '' ? undefined : `${why}${before > 0 ? `, ${before} before you` : ''}`
}

const speed = (tokens: number, ms: number): number => (tokens > 1 && ms > 0 ? (1000 * (tokens - 1)) / ms : 0)

type Told = Exclude<JobEvent, { type: 'end' }> | JobWaiting

/** How far the job is, from one event to the next. @throws MeshError what keeps it from ever running */
const createProgress = (patience: Patience, now: () => number): ((event: Told) => JobProgress) => {
  let progress: JobProgress = { state: 'queued', worldSize: 0, tokens: 0, tokensPerSecond: 0 }
  let firstAt = 0
  const running = (change: Partial<JobProgress>): JobProgress => {
    patience.end()
    return { ...progress, state: 'running', waiting: undefined, ...change }
  }
  return (event) => {
    if (event.type === 'waiting') {
      if (event.error) throw MeshError.fromReport(event.error)
      progress = { ...progress, waiting: waitingText(event) }
      if (progress.waiting !== undefined) patience.begin()
      else if (progress.state === 'running') patience.end()
    } else if (event.type === 'tokens') {
      if (firstAt === 0) firstAt = now()
      const tokens = event.firstIndex + event.tokens.length
      progress = running({ tokens, tokensPerSecond: speed(tokens, now() - firstAt) })
    } else if (event.state === 'running') progress = running({ worldSize: event.worldSize })
    else if (event.state === 'queued') progress = { ...progress, state: event.state }
    else if (event.state === 'assigned')
      progress = { ...progress, state: event.state, worldSize: event.worldSize, waiting: undefined }
    return progress
  }
}

/** Follows the job and tells of it. @returns how it ended; @throws AbortError when `signal` aborts */
const watch = async (
  run: JobRun,
  jobId: string,
  signal: AbortSignal,
  progressAt: (event: Told) => JobProgress,
): Promise<Job> => {
  let text = ''
  const { client, poolId, context, reader = plainReader } = run
  const tell = (part: string): void => {
    const said = reader.text(part)
    if (said !== '') run.onText(said)
  }
  for await (const event of followJob({ client, poolId, jobId, signal, absenceMs: run.waitMs, now: context.now })) {
    if (event.type === 'end') {
      // deltas may have been lost with the agent's connection: the whole answer is in the job
      if (event.job.text.startsWith(text) && event.job.text.length > text.length)
        tell(event.job.text.slice(text.length))
      return reader.end(event.job)
    }
    const progress = progressAt(event)
    if (event.type === 'tokens' && event.text !== '') {
      text += event.text
      tell(event.text)
    }
    run.onProgress(progress)
  }
  throw new MeshError('controlPlaneProtocol', { problem: 'the events of the job ended without an end' })
}

/**
 * Submits the job and follows it to its end.
 * @returns the finished job
 * @throws MeshError what made it fail, or keeps it from ever running | `jobCancelled` | `jobTimeout` (no ring in time)
 * | `controlPlaneUnreachable`
 */
export const runJob = async (run: JobRun): Promise<Job> => {
  const { client, poolId, submission, context } = run
  const { jobId } = await client.call('submitJob', { params: { poolId }, body: submission })
  const patience = createPatience(run.waitMs)
  const progressAt = createProgress(patience, context.now)
  let why = ''
  let isHopeless = false
  patience.begin()
  try {
    const job = await watch(run, jobId, AbortSignal.any([context.signal, patience.signal]), (event) => {
      isHopeless = event.type === 'waiting' && event.error !== undefined
      const progress = progressAt(event)
      why = progress.waiting === undefined ? '' : `: ${progress.waiting}`
      return progress
    })
    if (job.withheld !== undefined) throw new MeshError('jobForgotten', { jobId, state: job.state })
    if (job.state === 'failed')
      throw job.error
        ? MeshError.fromReport(job.error)
        : new MeshError('controlPlaneProtocol', { problem: `job ${jobId} failed without a reason` })
    await confirmUse(run, job)
    if (job.state === 'cancelled') throw new MeshError('jobCancelled')
    return job
  } catch (error) {
    // what comes further is not believed either
    const isBroken = error instanceof MeshError && error.code === 'sealBroken'
    if (!context.signal.aborted && !patience.signal.aborted && !isHopeless && !isBroken) throw error
    await cancelQuietly(run, jobId)
    if (context.signal.aborted) throw new MeshError('jobCancelled')
    throw isHopeless || isBroken ? error : new MeshError('jobTimeout', { seconds: run.waitMs / 1000, why })
  } finally {
    patience.end()
  }
}
