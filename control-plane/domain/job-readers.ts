/**
 * Who reads the text of a job, and what everybody else sees of it: pure decisions, made here for every route, stream
 * and list. Text is the prompt, the stop strings, the answer, its tokens, and what a failure says: it may quote.
 */
import type { ErrorReportJson } from '../../shared/schema/common.ts'
import type { AskedJob, Job, Withheld } from '../../shared/schema/job.ts'

/** Who asks: a device, or an app by the key that a device made. */
export interface Reader {
  readonly deviceId: string
  readonly keyId?: string
  readonly isAdmin: boolean
}

export interface ReadingTerms {
  /** The pool was made so that its admins read the text of all. */
  readonly adminsReadText: boolean
}

/**
 * The device that submitted it, or made the key that it came by; an app by that same key; admins where the pool says
 * so.
 */
export const mayReadText = (
  { submittedBy, keyId }: Pick<Job, 'submittedBy' | 'keyId'>,
  reader: Reader,
  { adminsReadText }: ReadingTerms,
): boolean => {
  if (reader.keyId !== undefined) return reader.keyId === keyId
  return reader.deviceId === submittedBy || (reader.isAdmin && adminsReadText)
}

/** Whoever asked: the device itself, or the app by its key, not the device that made that. */
export const isSubmitter = ({ submittedBy, keyId }: Pick<Job, 'submittedBy' | 'keyId'>, reader: Reader): boolean =>
  reader.deviceId === submittedBy && reader.keyId === keyId

/** Of a failure its kind alone: message, hint and fields come from whoever failed. */
export const failureWithoutText = ({ code }: ErrorReportJson): ErrorReportJson => ({ code, message: `failed: ${code}` })

/** Named field by field: what is added to a submission is hidden until somebody decides otherwise. */
export const askedWithoutText = ({ modelId, maxTokens, sampling }: AskedJob): AskedJob => ({
  modelId,
  maxTokens,
  sampling,
  stop: [],
})

/** What a pool needs to know of a job: who, which model, how long, how many tokens, how it ended. */
export const withoutText = (job: Job, withheld: Withheld): Job => ({
  ...job,
  submission: askedWithoutText(job.submission),
  text: '',
  tokens: [],
  ...(job.error ? { error: failureWithoutText(job.error) } : {}),
  withheld,
})
