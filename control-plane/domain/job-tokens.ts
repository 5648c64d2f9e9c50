/**
 * What a job can have used at most, and what rank 0 may claim of it: pure decisions, from what the control plane knows.
 */
import type { JobSubmission } from '../../shared/schema/job.ts'
import { sealedBytes } from '../../shared/sealed/padding.ts'
import type { ModelShape } from '../../shared/schema/model.ts'
import type { JobResult } from './job-state.ts'

/** What begins and ends a text, and the space that some vocabularies put before it. */
const aroundText = 16
/**
 * What a chat template writes around a message, and once around all: names of roles, a date, a system message of its
 * own.
 */
const aroundMessage = 64
const aroundChat = 512

type Asked = Pick<JobSubmission, 'prompt' | 'messages' | 'sealed' | 'maxTokens'>

/** JSON of a message takes this much besides its text. */
const leastMessage = 28

/** A sealed prompt may be many short messages. */
const mostSealedTokens = (bytes: number): number => bytes + aroundChat + Math.ceil(bytes / leastMessage) * aroundMessage

/** The control plane has no tokenizer, but no token stands for less than a byte. */
const mostPromptTokens = ({ prompt = '', messages, sealed }: Asked): number =>
  sealed
    ? mostSealedTokens(sealedBytes(sealed))
    : (messages?.reduce((sum, { content }) => sum + Buffer.byteLength(content) + aroundMessage, aroundChat) ??
      Buffer.byteLength(prompt) + aroundText)

/**
 * The most tokens that prompt and answer can have had together.
 * @param answered tokens of the answer, as it was told
 */
export const mostTokens = (submission: Asked, { context }: Pick<ModelShape, 'context'>, answered: number): number =>
  Math.min(context, mostPromptTokens(submission) + Math.min(answered, submission.maxTokens))

/** Tokens that rank 0 says were used, as far as they can have been: none of a job that failed. */
export const claimedTokens = (
  { submission }: { readonly submission: Asked },
  shape: Pick<ModelShape, 'context'> | undefined,
  { state, usage, tokens }: Pick<JobResult, 'state' | 'usage' | 'tokens'>,
): number =>
  !shape || state === 'failed' || !usage
    ? 0
    : Math.min(usage.promptTokens + tokens.length, mostTokens(submission, shape, tokens.length))
