/**
 * Jobs from their submission to their end. Each method is one transaction, so a crash leaves a job before or after it.
 */
import { and, desc, eq, inArray, isNull, or } from 'drizzle-orm'
import type { JobId } from '../../shared/ids.ts'
import type { Job, JobEvent, JobState, JobSubmission } from '../../shared/schema/job.ts'
import { withoutText } from '../domain/job-readers.ts'
import { finalStates, type JobResult } from '../domain/job-state.ts'
import { keptOf } from '../domain/prompt-length.ts'
import type { Store, Transaction } from './database.ts'
import { JobEventStore, type Streamed } from './job-event-store.ts'
import { type EventRow, type JobTexts, keyHash, withoutUndefined } from './job-texts.ts'
import { jobs, textForms } from './tables.ts'
import { sealPlainJob } from './text-store.ts'

type Row = typeof jobs.$inferSelect

const openStates: readonly JobState[] = ['queued', 'assigned', 'running']

/** Where a job stands, without what was generated: cheap enough to ask for with every token. */
export interface JobHead extends Pick<Job, 'state' | 'epoch' | 'worldSize'> {
  readonly isCancelled: boolean
}

export interface NewJob {
  readonly poolId: string
  readonly submittedBy: string
  /** The API key that it came by; empty or absent: the device itself. */
  readonly keyId?: string
  /** Counted against the quota of the key until the job ends. */
  readonly quotaTokens?: number
  readonly submission: JobSubmission
}

const nothing: Streamed = { text: '', tokens: [] }

export class JobStore {
  readonly #store: Store
  readonly #texts: JobTexts
  readonly #events: JobEventStore

  constructor(store: Store, texts: JobTexts) {
    this.#store = store
    this.#texts = texts
    this.#events = new JobEventStore(store, texts)
  }

  /** Queues a job. A key that the device used before is a mistake of the caller: `findByKey` comes first. */
  submit(jobId: JobId, { poolId, submittedBy, keyId = '', quotaTokens = 0, submission }: NewJob, now: number): Job {
    return this.#store.transaction((tx) => {
      const { idempotencyKey, modelId } = submission
      const row: Row = {
        jobId,
        poolId,
        submittedBy,
        keyId,
        quotaTokens,
        modelId,
        ...this.#texts.asked(jobId, submission),
        idempotencyKey: keyHash(idempotencyKey),
        state: 'queued',
        worldSize: 0,
        epoch: 0,
        received: 0,
        result: null,
        answer: null,
        textSince: null,
        createdAt: now,
        startedAt: null,
        cancelRequestedAt: null,
        finishedAt: null,
      }
      tx.insert(jobs).values(row).run()
      this.#events.append(tx, jobId, (sequence) => ({ sequence, type: 'state', state: 'queued', worldSize: 0 }))
      return this.#jobOf(row, nothing)
    })
  }

  /** The job that a device, or an app by its API key, submitted under that idempotency key. */
  findByKey({
    poolId,
    submittedBy,
    keyId = '',
    idempotencyKey,
  }: Pick<NewJob, 'poolId' | 'submittedBy' | 'keyId'> & { readonly idempotencyKey: string }): Job | undefined {
    return this.#store.transaction((tx) => {
      const isKey = or(
        eq(jobs.idempotencyKey, keyHash(idempotencyKey)),
        and(eq(jobs.textForm, textForms.plain), eq(jobs.idempotencyKey, idempotencyKey)),
      )
      const row = tx
        .select()
        .from(jobs)
        .where(and(eq(jobs.poolId, poolId), eq(jobs.submittedBy, submittedBy), eq(jobs.keyId, keyId), isKey))
        .get()
      return row && this.#jobOf(row)
    })
  }

  find(jobId: string): Job | undefined {
    return this.#store.transaction((tx) => {
      const row = tx.select().from(jobs).where(eq(jobs.jobId, jobId)).get()
      return row && this.#jobOf(row)
    })
  }

  list(poolId: string, limit: number): Job[] {
    return this.#store.transaction((tx) =>
      tx
        .select()
        .from(jobs)
        .where(eq(jobs.poolId, poolId))
        .orderBy(desc(jobs.createdAt), desc(jobs.jobId))
        .limit(limit)
        .all()
        .map((row) => this.#jobOf(row)),
    )
  }

  head(jobId: string): JobHead | undefined {
    const row = this.#store
      .select({
        state: jobs.state,
        epoch: jobs.epoch,
        worldSize: jobs.worldSize,
        cancelRequestedAt: jobs.cancelRequestedAt,
      })
      .from(jobs)
      .where(eq(jobs.jobId, jobId))
      .get()
    return (
      row && {
        state: row.state,
        epoch: row.epoch,
        worldSize: row.worldSize,
        isCancelled: row.cancelRequestedAt !== null,
      }
    )
  }

  /** Remembers that somebody wants the job to end. */
  requestCancel(jobId: string, now: number): void {
    this.#store
      .update(jobs)
      .set({ cancelRequestedAt: now })
      .where(and(eq(jobs.jobId, jobId), isNull(jobs.cancelRequestedAt)))
      .run()
  }

  /** Jobs that a ring had when the control plane stopped. */
  unfinished(): Job[] {
    return this.#store.transaction((tx) =>
      tx
        .select()
        .from(jobs)
        .where(inArray(jobs.state, ['assigned', 'running']))
        .all()
        .map((row) => this.#jobOf(row)),
    )
  }

  /** Moves an open job on. @returns the event to publish; `undefined` when the job is final already */
  advance(
    jobId: string,
    state: 'assigned' | 'running',
    at: { readonly epoch: number; readonly worldSize: number; readonly now: number },
  ): JobEvent | undefined {
    return this.#store.transaction((tx) => {
      const changed = tx
        .update(jobs)
        .set({ state, epoch: at.epoch, worldSize: at.worldSize, ...(state === 'running' ? { startedAt: at.now } : {}) })
        .where(and(eq(jobs.jobId, jobId), inArray(jobs.state, [...openStates])))
        .run().changes
      return changed === 0
        ? undefined
        : this.#events.append(tx, jobId, (sequence) => ({ sequence, type: 'state', state, worldSize: at.worldSize }))
    })
  }

  /** Adds tokens; a message that is known already is dropped. @returns the event to publish, if anything was new */
  addTokens(jobId: string, firstIndex: number, tokens: readonly number[], text: string): JobEvent | undefined {
    return this.#store.transaction((tx) => {
      const row = tx
        .select({ received: jobs.received, state: jobs.state })
        .from(jobs)
        .where(eq(jobs.jobId, jobId))
        .get()
      // A message is taken whole or not at all: its text belongs to all of its tokens, and a leader repeats whole
      // messages.
      if (!row || !openStates.includes(row.state) || firstIndex !== row.received) return undefined
      tx.update(jobs)
        .set({ received: firstIndex + tokens.length })
        .where(eq(jobs.jobId, jobId))
        .run()
      return this.#events.append(tx, jobId, (sequence) => ({
        sequence,
        type: 'tokens',
        firstIndex,
        tokens: [...tokens],
        text,
      }))
    })
  }

  /**
   * Ends a job, once.
   * @param tokens that it used, for the quota of its key
   * @returns the events to publish: text that no delta carried, and the end
   */
  finish(
    jobId: string,
    { state, ...result }: JobResult,
    { now, tokens: quotaTokens = 0 }: { readonly now: number; readonly tokens?: number },
  ): JobEvent[] {
    return this.#store.transaction((tx) => {
      const found = tx.select().from(jobs).where(eq(jobs.jobId, jobId)).get()
      if (!found || finalStates.includes(found.state)) return []
      const row = found.textForm === textForms.plain ? sealPlainJob(tx, this.#texts, jobId) : found
      const rest = this.#appendRest(tx, jobId, result)
      const asked = this.#texts.askedIn(row)
      const kept = state === 'done' || !asked ? undefined : keptOf(asked)
      const change = {
        state,
        received: result.tokens.length,
        quotaTokens,
        finishedAt: now,
        textSince: now,
        ...(kept?.isCut ? this.#texts.asked(jobId, kept.submission) : {}),
        ...this.#texts.result(jobId, { ...result, ...(kept?.isCut ? { promptCut: true } : {}) }),
      }
      tx.update(jobs).set(change).where(eq(jobs.jobId, jobId)).run()
      const job = this.#jobOf({ ...row, ...change })
      const end = this.#events.append(tx, jobId, (sequence) => ({ sequence, type: 'end', job }))
      this.#events.settle(jobId)
      return [...rest, end]
    })
  }

  /**
   * The next events, at most so many, with a higher sequence number; of what is forgotten those without text. Empty: no
   * more.
   */
  events(jobId: string, after: number, most?: number): JobEvent[] {
    return this.#store.transaction(() => {
      for (let from = after; ;) {
        const rows = this.#events.page(jobId, from, most)
        const events = rows.flatMap((row) => this.#eventIn(row))
        const last = rows.at(-1)
        if (events.length > 0 || last === undefined) return events
        from = last.sequence // all of them are forgotten
      }
    })
  }

  #eventIn(row: EventRow): JobEvent[] {
    const { jobId, event } = row
    if (event.type === 'state') return [event]
    const tokens = this.#texts.tokensIn(row)
    if (event.type === 'tokens') return tokens ? [tokens] : []
    const job = this.find(jobId)
    return job ? [{ sequence: event.sequence, type: 'end', job }] : []
  }

  /** What of an answer no event carried. */
  #appendRest(tx: Transaction, jobId: string, answer: Streamed): JobEvent[] {
    const { text: streamed, tokens: known } = this.#events.streamed(jobId)
    const text = answer.text.startsWith(streamed) ? answer.text.slice(streamed.length) : ''
    if (text === '' && answer.tokens.length <= known.length) return []
    const tokens = answer.tokens.slice(known.length)
    const firstIndex = known.length
    return [this.#events.append(tx, jobId, (sequence) => ({ sequence, type: 'tokens', firstIndex, tokens, text }))]
  }

  /** A job that is not final shows what arrived so far; one whose text cannot be read any more what is no text. */
  #jobOf(row: Row, streamed?: Streamed): Job {
    const asked = this.#texts.askedIn(row)
    const isOpen = row.result === null
    const result = isOpen && asked ? (streamed ?? this.#events.streamed(row.jobId)) : this.#texts.resultIn(row)
    const job: Job = withoutUndefined({
      jobId: row.jobId,
      poolId: row.poolId,
      submittedBy: row.submittedBy,
      keyId: row.keyId === '' ? undefined : row.keyId,
      submission: asked ?? row.submission,
      state: row.state,
      worldSize: row.worldSize,
      epoch: row.epoch,
      text: '',
      tokens: [],
      ...(result ?? row.result),
      answered: row.received,
      createdAt: row.createdAt,
      startedAt: row.startedAt ?? undefined,
      finishedAt: row.finishedAt ?? undefined,
    })
    return asked && result ? job : withoutText(job, 'forgotten')
  }
}
