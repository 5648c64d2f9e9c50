/**
 * What becomes of the text of jobs while nobody asks for it: sealed where an older version wrote it plainly, forgotten
 * when its time is over. Everything in small steps: the process has other things to do in between.
 */
import { and, asc, eq, gt, inArray, lte, sql } from 'drizzle-orm'
import type { JobEvent } from '../../shared/schema/job.ts'
import type { Store, Transaction } from './database.ts'
import { type JobTexts, keyHash } from './job-texts.ts'
import { jobEvents, jobs, textForms } from './tables.ts'

type Row = typeof jobs.$inferSelect

/** Rows of events that one step changes. */
const eventsAtOnce = 500
/** A clock may be set by this much without mattering, in milliseconds. */
const clockToleranceMs = 60_000

/** Events of older versions carry their text in their JSON. @returns whether that were all */
const sealPlainEvents = (tx: Transaction, texts: JobTexts, jobId: string, limit: number): boolean => {
  const isPlain = sql`(json_extract(${jobEvents.event}, '$.text') is not null or json_extract(${jobEvents.event}, '$.job') is not null)`
  const rows = tx
    .select()
    .from(jobEvents)
    .where(and(eq(jobEvents.jobId, jobId), isPlain))
    .orderBy(asc(jobEvents.sequence))
    .limit(limit)
    .all()
  for (const { sequence, event } of rows) {
    const row = and(eq(jobEvents.jobId, jobId), eq(jobEvents.sequence, sequence))
    tx.update(jobEvents)
      .set(texts.event(jobId, event as JobEvent))
      .where(row)
      .run()
  }
  return rows.length < limit
}

/** Seals one job that an older version wrote, whole. @returns its new row */
export const sealPlainJob = (tx: Transaction, texts: JobTexts, jobId: string): Row => {
  sealPlainEvents(tx, texts, jobId, Number.MAX_SAFE_INTEGER)
  const row = tx.select().from(jobs).where(eq(jobs.jobId, jobId)).get() as Row
  const result = row.result && texts.result(jobId, row.result as Parameters<JobTexts['result']>[1])
  const change = {
    ...texts.asked(jobId, row.submission),
    ...result,
    idempotencyKey: keyHash(row.idempotencyKey),
    textSince: row.finishedAt,
  }
  tx.update(jobs).set(change).where(eq(jobs.jobId, jobId)).run()
  return { ...row, ...change }
}

export class TextStore {
  readonly #store: Store
  readonly #texts: JobTexts

  constructor(store: Store, texts: JobTexts) {
    this.#store = store
    this.#texts = texts
  }

  /** Seals some of what an older version wrote plainly. @returns whether nothing plain is left */
  sealSome(): boolean {
    return this.#store.transaction((tx) => {
      const found = tx.select({ jobId: jobs.jobId }).from(jobs).where(eq(jobs.textForm, textForms.plain)).limit(1).get()
      if (!found) return true
      if (sealPlainEvents(tx, this.#texts, found.jobId, eventsAtOnce)) sealPlainJob(tx, this.#texts, found.jobId)
      return false
    })
  }

  /**
   * Nobody reads the text of those jobs any more, from now on: of jobs that ended long ago, oldest first.
   * @param before ended then or earlier
   * @returns how many
   */
  forgetDue(before: number, limit: number): number {
    return this.#store.transaction((tx) => {
      const isDue = and(eq(jobs.textForm, textForms.sealed), lte(jobs.textSince, before))
      const due = tx
        .select({ jobId: jobs.jobId })
        .from(jobs)
        .where(isDue)
        .orderBy(asc(jobs.textSince))
        .limit(limit)
        .all()
      for (const { jobId } of due) this.#forget(tx, jobId)
      return due.length
    })
  }

  /** The same of one job that has ended. */
  forget(jobId: string): void {
    this.#store.transaction((tx) => {
      const row = tx
        .select({ textSince: jobs.textSince, textForm: jobs.textForm })
        .from(jobs)
        .where(eq(jobs.jobId, jobId))
        .get()
      if (row && row.textSince !== null && row.textForm === textForms.sealed) this.#forget(tx, jobId)
    })
  }

  /** Deletes some of what was streamed of forgotten jobs. @returns whether nothing of it is left */
  deleteSome(): boolean {
    return this.#store.transaction((tx) => {
      const found = tx
        .select({ jobId: jobs.jobId })
        .from(jobs)
        .where(eq(jobs.textForm, textForms.forgetting))
        .limit(1)
        .get()
      if (!found) return true
      const isTokens = and(eq(jobEvents.jobId, found.jobId), sql`json_extract(${jobEvents.event}, '$.type') = 'tokens'`)
      const some = tx.select({ sequence: jobEvents.sequence }).from(jobEvents).where(isTokens).limit(eventsAtOnce).all()
      const isSome = and(
        eq(jobEvents.jobId, found.jobId),
        inArray(
          jobEvents.sequence,
          some.map(({ sequence }) => sequence),
        ),
      )
      if (some.length > 0) tx.delete(jobEvents).where(isSome).run()
      if (some.length < eventsAtOnce)
        tx.update(jobs).set({ textForm: textForms.forgotten }).where(eq(jobs.jobId, found.jobId)).run()
      return false
    })
  }

  /** A clock that ran ahead and was set back must not keep text for years: what ended in the future ends now. */
  mendTimes(now: number): void {
    this.#store
      .update(jobs)
      .set({ textSince: now })
      .where(and(eq(jobs.textForm, textForms.sealed), gt(jobs.textSince, now + clockToleranceMs)))
      .run()
  }

  #forget(tx: Transaction, jobId: string): void {
    tx.update(jobs)
      .set({ textForm: textForms.forgetting, asked: null, answer: null })
      .where(eq(jobs.jobId, jobId))
      .run()
  }
}
