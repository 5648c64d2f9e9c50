/** One prompt from submission to the last token. */
import { randomBytes, randomInt } from 'node:crypto'
import type { Client } from '../../shared/api/client.ts'
import { MeshError } from '../../shared/errors.ts'
import type { KeyPair } from '../../shared/identity/keys.ts'
import { signStatement } from '../../shared/identity/statement.ts'
import type { Job, JobSubmission } from '../../shared/schema/job.ts'
import { limits } from '../../shared/wire/limits.ts'
import type { OptionValues } from '../../shared/options.ts'
import type { CommandContext } from './command.ts'
import { followJob } from './job-stream.ts'

/** Options that describe a job. */
export const jobOptions = ['modelId', 'prompt', 'chat', 'maxTokens', 'temperature', 'topP', 'topK', 'minP', 'repetitionPenalty', 'seed', 'stop'] as const

type JobValues = OptionValues<(typeof jobOptions)[number]> & { readonly prompt: string }

/** @throws MeshError `promptEmpty` | `promptTooLarge` | `parameterInvalid` */
export const submissionOf = (values: JobValues): JobSubmission => {
  if (values.prompt.trim() === '') throw new MeshError('promptEmpty')
  if (values.prompt.length > limits.promptLength && [...values.prompt].length > limits.promptLength) {
    throw new MeshError('promptTooLarge', { limit: limits.promptLength.toLocaleString('en') })
  }
  if (values.stop.some((text) => text === '')) throw new MeshError('parameterInvalid', { name: '--stop', want: 'a text that is not empty', got: '""' })
  if (values.stop.length > 16) throw new MeshError('parameterInvalid', { name: '--stop', want: 'given 16 times at most', got: values.stop.length })
  return {
    modelId: values.modelId,
    ...(values.chat ? { messages: [{ role: 'user', content: values.prompt }] } : { prompt: values.prompt }),
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
}

export interface JobRun {
  readonly context: CommandContext
  readonly client: Client
  /** Of this device: it signs what it used. Absent for an app, whose use is settled unsigned. */
  readonly key?: KeyPair
  readonly poolId: string
  readonly submission: JobSubmission
  /** Milliseconds that the job may wait for a ring, and the control plane may be away. */
  readonly waitMs: number
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
const confirmUse = async ({ client, poolId, key, context }: JobRun, { jobId, epoch, usage, tokens }: Job): Promise<void> => {
  if (!key || !usage || usage.completionTokens !== tokens.length || usage.totalTokens !== usage.promptTokens + tokens.length) return
  try {
    await client.call('confirmUse', { params: { poolId, jobId }, body: signStatement(key, poolId, { kind: 'use', jobId, epoch, weights: 0, tokens: usage.totalTokens, computeUs: 0 }) })
  } catch (error) {
    context.logger.debug(MeshError.from(error).message)
  }
}

/** Follows the job and tells of it. @returns how it ended; @throws AbortError when `signal` aborts */
const watch = async (run: JobRun, jobId: string, signal: AbortSignal, onRunning: () => void): Promise<Job> => {
  let progress: JobProgress = { state: 'queued', worldSize: 0, tokens: 0, tokensPerSecond: 0 }
  let text = ''
  let firstAt = 0
  const { client, poolId, context } = run
  for await (const event of followJob({ client, poolId, jobId, signal, absenceMs: run.waitMs, now: context.now })) {
    if (event.type === 'end') {
      // deltas may have been lost with the agent's connection: the whole answer is in the job
      if (event.job.text.startsWith(text) && event.job.text.length > text.length) run.onText(event.job.text.slice(text.length))
      return event.job
    }
    if (event.type === 'tokens') {
      onRunning()
      const tokens = event.firstIndex + event.tokens.length
      const now = context.now()
      if (firstAt === 0) firstAt = now
      const tokensPerSecond = tokens > 1 && now > firstAt ? (1000 * (tokens - 1)) / (now - firstAt) : 0
      progress = { ...progress, state: 'running', tokens, tokensPerSecond }
      text += event.text
      if (event.text !== '') run.onText(event.text)
    } else if (event.state === 'queued' || event.state === 'assigned' || event.state === 'running') {
      if (event.state === 'running') onRunning()
      progress = { ...progress, state: event.state, worldSize: event.worldSize }
    }
    run.onProgress(progress)
  }
  throw new MeshError('controlPlaneProtocol', { problem: 'the events of the job ended without an end' })
}

/**
 * Submits the job and follows it to its end.
 * @returns the finished job
 * @throws MeshError what made it fail | `jobCancelled` | `jobTimeout` (no ring in time) | `controlPlaneUnreachable`
 */
export const runJob = async (run: JobRun): Promise<Job> => {
  const { client, poolId, submission, context } = run
  const { jobId } = await client.call('submitJob', { params: { poolId }, body: submission })
  const tooLate = new AbortController()
  const timer = setTimeout(() => tooLate.abort(), run.waitMs)
  try {
    const job = await watch(run, jobId, AbortSignal.any([context.signal, tooLate.signal]), () => clearTimeout(timer))
    if (job.state === 'failed') throw job.error ? MeshError.fromReport(job.error) : new MeshError('controlPlaneProtocol', { problem: `job ${jobId} failed without a reason` })
    await confirmUse(run, job)
    if (job.state === 'cancelled') throw new MeshError('jobCancelled')
    return job
  } catch (error) {
    if (!context.signal.aborted && !tooLate.signal.aborted) throw error
    await cancelQuietly(run, jobId)
    throw context.signal.aborted ? new MeshError('jobCancelled') : new MeshError('jobTimeout', { seconds: Number((run.waitMs / 1000).toFixed(1)) })
  } finally {
    clearTimeout(timer)
  }
}
