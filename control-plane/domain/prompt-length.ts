/** Prompts that are too long to run, and what is kept of those that did not: pure decisions. */
import { MeshError } from '../../shared/errors.ts'
import type { AskedJob, JobSubmission, Message } from '../../shared/schema/job.ts'
import type { ModelManifest } from '../../shared/schema/model.ts'
import { limits } from '../../shared/limits.ts'

/** Exactly one way to ask; what is sealed has its stop strings sealed along. @throws MeshError `requestInvalid` */
export const checkAsked = ({ prompt, messages, sealed, special, stop }: JobSubmission): void => {
  const given = [prompt, messages, sealed].filter((one) => one !== undefined).length
  if (given !== 1) throw new MeshError('requestInvalid', { problem: 'give either prompt, messages or sealed' })
  if (sealed && (special !== undefined || stop.length > 0))
    throw new MeshError('requestInvalid', {
      problem: 'of a sealed prompt stop strings and special are sealed too: stop must be empty, special absent',
    })
}

type Texts = Pick<JobSubmission, 'prompt' | 'messages' | 'special'>

/**
 * Refuses what is too long for the model by its characters alone, before it waits for a ring. What the chat template
 * leaves out of messages, and how long special tokens are, only rank 0 knows: there the job may still fail.
 * @throws MeshError `promptTooLong`
 */
export const checkPromptLength = (
  { prompt = '', special = false }: Texts,
  { shape, charactersPerToken }: Pick<ModelManifest, 'shape' | 'charactersPerToken'>,
): void => {
  if (charactersPerToken === undefined || special) return
  const least = Math.floor(prompt.length / charactersPerToken)
  if (least >= shape.context)
    throw new MeshError('promptTooLong', { tokens: `at least ${least}`, context: shape.context })
}

/** What a message takes besides its text. */
const messageLength = 40

/** A text of at most that many characters, none of which is half of one. */
const beginningOf = (text: string, length: number): string => {
  const cut = text.slice(0, length)
  return cut.isWellFormed() || !text.isWellFormed() ? cut : cut.slice(0, -1)
}

/** What stays of a prompt when its job failed or was cancelled: who floods shall not fill the disk. */
export const keptOf = (submission: AskedJob): { readonly submission: AskedJob; readonly isCut: boolean } => {
  const { prompt, messages, sealed, ...rest } = submission
  if (sealed !== undefined) return { submission: rest, isCut: true } // of that no beginning can be kept
  if (messages === undefined) {
    const isCut = prompt !== undefined && prompt.length > limits.keptPromptLength
    return {
      submission: isCut ? { ...submission, prompt: beginningOf(prompt, limits.keptPromptLength) } : submission,
      isCut,
    }
  }
  const kept: Message[] = []
  let left: number = limits.keptPromptLength
  let isCut = false
  for (const message of messages) {
    isCut = left <= 0 || message.content.length > left
    if (left > 0) kept.push(isCut ? { ...message, content: beginningOf(message.content, left) } : message)
    left -= message.content.length + messageLength
    if (isCut) break
  }
  return { submission: isCut ? { ...submission, messages: kept } : submission, isCut }
}
