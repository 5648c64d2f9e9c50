/** What leader and follower of a job agree on. */
import { type FrameTag, phases } from '../../shared/wire/frame.ts'

/** Tokens of one prefill step: enough rows for good use of the matrices, few enough to keep buffers small. */
export const prefillChunkTokens = 256

/** Operation number of the candidates that a rank sends to rank 0 after a step; all-reduces count up from zero. */
const candidatesOperation = 0xffff_ffff

/** The same of all its logits, which rank 0 asked for. */
const logitsOperation = 0xffff_fffe

export const candidatesTag = (job: number, step: number): FrameTag => ({
  job,
  step,
  operation: candidatesOperation,
  phase: phases.none,
  chunk: 0,
})
export const logitsTag = (job: number, step: number): FrameTag => ({
  ...candidatesTag(job, step),
  operation: logitsOperation,
})

/** What one rank did for a job. */
export interface RankWork {
  readonly jobId: string
  /** Tokens that went through the layers, prompt included. */
  readonly tokens: number
  /** Own matrices only, without waiting for other ranks. */
  readonly computeMs: number
}
