/** What becomes of a job by what rank 0 says of it: pure decisions. */
import type { AgentMessage } from '../../shared/api/messages.ts'
import type { Job, JobState } from '../../shared/schema/job.ts'

/** What rank 0 says of a job. */
export type JobMessage = Exclude<Extract<AgentMessage, { jobId: string }>, { type: 'work-report' | 'job-progress' }>

export const finalStates: readonly JobState[] = ['done', 'failed', 'cancelled']

/** What the end of a job adds to it. */
export type JobResult = Pick<Job, 'text' | 'tokens' | 'finishReason' | 'usage' | 'timings' | 'error'> & {
  readonly state: 'done' | 'failed' | 'cancelled'
}

/**
 * `start`, `append`, `finish`: store it. `settle`: it is stored already, the agent may forget it. `stop`: nobody waits
 * for that job any more, the agent shall end it. `ignore`: a repetition, or a device that does not lead the job.
 */
export type Reaction = 'start' | 'append' | 'finish' | 'settle' | 'stop' | 'ignore'

/** @param state of the job; `undefined` when there is no such job */
export const reactionTo = (news: JobMessage['type'], state: JobState | undefined, fromLeader: boolean): Reaction => {
  const isEnd = news === 'job-done' || news === 'job-failed'
  if (state === undefined || finalStates.includes(state)) return isEnd ? 'settle' : 'stop'
  if (!fromLeader) return 'ignore'
  if (isEnd) return 'finish'
  if (news === 'job-tokens') return 'append'
  return state === 'running' ? 'ignore' : 'start'
}

type SoFar = Pick<Job, 'text' | 'tokens'>

/** How a job ends by the message of rank 0. A job that fails after somebody cancelled it counts as cancelled. */
export const resultOf = (
  message: Extract<JobMessage, { type: 'job-done' | 'job-failed' }>,
  soFar: SoFar,
  isCancelled: boolean,
): JobResult => {
  if (message.type === 'job-failed')
    return failedWith(message.error, soFar, isCancelled || message.error.code === 'jobCancelled')
  const { finishReason, usage, timings, text, tokens } = message
  return { state: finishReason === 'cancelled' ? 'cancelled' : 'done', finishReason, usage, timings, text, tokens }
}

/** How a job ends that nobody will finish. */
export const failedWith = (
  error: NonNullable<Job['error']>,
  { text, tokens }: SoFar,
  isCancelled: boolean,
): JobResult =>
  isCancelled
    ? { state: 'cancelled', finishReason: 'cancelled', text, tokens }
    : { state: 'failed', error, text, tokens }
