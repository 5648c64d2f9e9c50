/** What a job may use of the daily quota of its API key: pure decisions. */
import { MeshError } from '../../shared/errors.ts'
import type { JobSubmission } from '../../shared/schema/job.ts'
import { sealedBytes } from '../../shared/sealed/padding.ts'

export const dayMs = 86_400_000

/** Midnight UTC before `now`. */
export const dayStart = (now: number): number => Math.floor(now / dayMs) * dayMs

/**
 * The control plane has no tokenizer. English has four bytes a token, Chinese about three: this errs to the safe side.
 */
const bytesPerToken = 3
/** What a chat template writes around a message. */
const tokensPerMessage = 8
/** Seconds after which jobs that run now may have given back what they did not use. */
const soonSeconds = 5

/** The most tokens that a job is expected to have, prompt and answer: never more than the context holds. */
export const expectedTokens = (
  {
    prompt = '',
    messages = [],
    sealed,
    maxTokens,
  }: Pick<JobSubmission, 'prompt' | 'messages' | 'sealed' | 'maxTokens'>,
  context: number,
): number => {
  const texts = [prompt, ...messages.map(({ content }) => content)]
  const promptTokens =
    texts.reduce((sum, text) => sum + Math.ceil(Buffer.byteLength(text) / bytesPerToken), 0) +
    messages.length * tokensPerMessage
  const sealedTokens = sealed ? Math.ceil(sealedBytes(sealed) / bytesPerToken) : 0
  return Math.min(context, promptTokens + sealedTokens + maxTokens)
}

export interface KeyUse {
  /** Tokens of jobs that ended today. */
  readonly usedToday: number
  /** Expected tokens of jobs that have not ended. */
  readonly reserved: number
}

/** @throws MeshError `keyQuotaTooSmall` (waiting would not help) | `keyQuotaExceeded` with the seconds to wait */
export const checkQuota = (
  { keyId, tokensPerDay }: { readonly keyId: string; readonly tokensPerDay: number },
  { usedToday, reserved }: KeyUse,
  wanted: number,
  now: number,
): void => {
  if (usedToday + reserved + wanted <= tokensPerDay) return
  const common = { keyId, quota: tokensPerDay, wanted }
  if (wanted > tokensPerDay) throw new MeshError('keyQuotaTooSmall', common)
  const retryAfterSeconds =
    usedToday + wanted <= tokensPerDay ? soonSeconds : Math.ceil((dayStart(now) + dayMs - now) / 1000)
  throw new MeshError('keyQuotaExceeded', {
    ...common,
    left: Math.max(0, tokensPerDay - usedToday - reserved),
    retryAfterSeconds,
  })
}
