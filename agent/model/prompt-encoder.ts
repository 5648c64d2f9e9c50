/**
 * Prompts to tokens, without keeping the thread that answers everybody: what is far too long is refused by its length,
 * and long prompts are cut in a thread of their own, which ends with them.
 */
import { Worker } from 'node:worker_threads'
import { type ErrorReport, MeshError } from '../../shared/errors.ts'
import type { JobSubmission } from '../../shared/schema/job.ts'
import type { Tokenizer } from './tokenizer.ts'

export type Prompt = Pick<JobSubmission, 'prompt' | 'messages' | 'special'>

export interface PromptThreadInput {
  readonly folder: string
  readonly prompt: Prompt
  readonly limits: PromptLimits
}

export type PromptThreadReport = { readonly tokens: Int32Array } | { readonly failed: ErrorReport }

export interface PromptLimits {
  /** Tokens that prompt and answer may have together. */
  readonly context: number
  /** Tokens that the model has. */
  readonly vocab: number
}

/** Characters that take a few milliseconds at most. */
const shortPrompt = 8000

const lengthOf = ({ prompt = '', messages = [] }: Prompt): number =>
  messages.reduce((sum, { content }) => sum + content.length, prompt.length)

const checkIds = (tokens: readonly number[], tokenizer: Tokenizer, { vocab }: PromptLimits): void => {
  const outside = tokens.find((token) => token >= vocab)
  if (outside !== undefined)
    throw new MeshError('tokenOutsideVocabulary', { token: tokenizer.nameOf(outside) ?? '', id: outside, vocab })
}

/**
 * In the calling thread.
 * @throws MeshError `promptTooLong` | `tokenOutsideVocabulary` | `chatTemplateMissing` | `modelConfigInvalid`
 */
export const encodePrompt = (
  tokenizer: Tokenizer,
  { prompt = '', messages, special = false }: Prompt,
  limits: PromptLimits,
): readonly number[] => {
  const { context } = limits
  const options = { special, mostTokens: context }
  const tokens = messages ? tokenizer.encodeChat(messages, options) : tokenizer.encode(prompt, options)
  if (tokens.length >= context) throw new MeshError('promptTooLong', { tokens: tokens.length, context })
  checkIds(tokens, tokenizer, limits)
  return tokens
}

const encodeInThread = async (input: PromptThreadInput, signal: AbortSignal): Promise<readonly number[]> => {
  const thread = new Worker(new URL('./prompt-thread.ts', import.meta.url), { workerData: input, name: 'prompt' })
  const { promise, resolve, reject } = Promise.withResolvers<PromptThreadReport>()
  thread.on('message', resolve)
  thread.on('error', reject)
  thread.on('exit', () => reject(new Error('the thread that reads the prompt ended without a word')))
  const giveUp = (): void => reject(signal.reason as Error)
  signal.addEventListener('abort', giveUp)
  try {
    const report = await promise
    if ('failed' in report) throw MeshError.fromReport(report.failed)
    return [...report.tokens]
  } finally {
    signal.removeEventListener('abort', giveUp)
    await thread.terminate()
  }
}

/**
 * Tokens of a prompt.
 * @param folder of the tokenizer: a thread reads it again
 * @throws what `encodePrompt` throws | the reason of the signal
 */
export const encodeAside = async (
  { tokenizer, folder }: { readonly tokenizer: Tokenizer; readonly folder: string },
  prompt: Prompt,
  limits: PromptLimits,
  signal: AbortSignal,
): Promise<readonly number[]> => {
  signal.throwIfAborted()
  if (lengthOf(prompt) <= shortPrompt) return encodePrompt(tokenizer, prompt, limits)
  if (prompt.messages === undefined)
    tokenizer.checkLength(prompt.prompt ?? '', { special: prompt.special, mostTokens: limits.context })
  return encodeInThread({ folder, prompt, limits }, signal)
}
