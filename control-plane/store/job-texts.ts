/** What of a job is text and what is not, as rows hold it: text sealed, the rest as it is. */
import { createHash } from 'node:crypto'
import type { AskedJob, Job, JobEvent } from '../../shared/schema/job.ts'
import { askedWithoutText, failureWithoutText } from '../domain/job-readers.ts'
import { type jobEvents, type jobs, type StoredEvent, textForms } from './tables.ts'
import type { TextVault } from './text-vault.ts'

type JobRow = typeof jobs.$inferSelect
export type EventRow = typeof jobEvents.$inferSelect
type TokenEvent = Extract<JobEvent, { type: 'tokens' }>

/** What only a finished job has. */
export type StoredResult = Pick<Job, 'text' | 'tokens' | 'finishReason' | 'usage' | 'timings' | 'error' | 'promptCut'>
type Answer = Pick<StoredResult, 'text' | 'tokens' | 'error'>

/** A key of an app may tell what it asks: rows hold its hash. */
export const keyHash = (idempotencyKey: string): string =>
  createHash('sha256').update(`meshnet-idempotency-v1\0${idempotencyKey}`).digest('hex')

export const withoutUndefined = <T extends object>(value: T): T => JSON.parse(JSON.stringify(value)) as T

export class JobTexts {
  readonly #vault: TextVault

  constructor(vault: TextVault) {
    this.#vault = vault
  }

  /** What is asked, as it is stored. */
  asked(jobId: string, submission: AskedJob): Pick<JobRow, 'submission' | 'asked' | 'textForm'> {
    const { prompt, messages, special, stop, idempotencyKey, sealed } = submission
    const text = { prompt, messages, special, stop, idempotencyKey, sealed }
    return {
      submission: askedWithoutText(submission),
      asked: this.#vault.seal({ jobId, column: 'asked' }, text),
      textForm: textForms.sealed,
    }
  }

  /** How it ended, as it is stored. */
  result(jobId: string, { text, tokens, error, ...facts }: StoredResult): Pick<JobRow, 'result' | 'answer'> {
    const told = error ? { error: failureWithoutText(error) } : {}
    return {
      result: withoutUndefined({ ...facts, ...told }),
      answer: this.#vault.seal({ jobId, column: 'answer' }, { text, tokens, error } satisfies Answer),
    }
  }

  event(jobId: string, event: JobEvent): { readonly event: StoredEvent; readonly piece: Buffer | null } {
    if (event.type === 'state') return { event, piece: null }
    const { sequence, type } = event
    if (type === 'end') return { event: { sequence, type }, piece: null }
    const { firstIndex, tokens, text } = event
    return {
      event: { sequence, type, firstIndex },
      piece: this.#vault.seal({ jobId, column: 'piece', sequence }, { tokens, text }),
    }
  }

  /** What was asked; `undefined` when it is forgotten, or sealed under another key. */
  askedIn({
    jobId,
    textForm,
    submission,
    asked,
  }: Pick<JobRow, 'jobId' | 'textForm' | 'submission' | 'asked'>): AskedJob | undefined {
    if (textForm === textForms.plain) return submission
    const text =
      textForm === textForms.sealed ? this.#vault.open<Partial<AskedJob>>({ jobId, column: 'asked' }, asked) : undefined
    return text && { ...submission, ...text }
  }

  /** How it ended; `undefined` when that is forgotten, or sealed under another key. */
  resultIn({
    jobId,
    textForm,
    result,
    answer,
  }: Pick<JobRow, 'jobId' | 'textForm' | 'result' | 'answer'>): StoredResult | undefined {
    if (result === null) return undefined
    if (textForm === textForms.plain) return result as StoredResult
    const text =
      textForm === textForms.sealed ? this.#vault.open<Answer>({ jobId, column: 'answer' }, answer) : undefined
    return text && { ...result, ...text }
  }

  /** Tokens of an event, of rows of older versions too; `undefined` when there are none to read. */
  tokensIn({ jobId, event, piece }: EventRow): TokenEvent | undefined {
    if (event.type !== 'tokens') return undefined
    if (piece === null) return 'tokens' in event ? (event as TokenEvent) : undefined
    const text = this.#vault.open<Pick<TokenEvent, 'tokens' | 'text'>>(
      { jobId, column: 'piece', sequence: event.sequence },
      piece,
    )
    return text && { ...event, ...text }
  }
}
