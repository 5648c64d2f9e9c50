/** Jobs and their event streams. Each method is one transaction, so a crash leaves a job before or after it. */
import { and, asc, count, desc, eq, gt, gte, inArray, isNull, max, or, sql, type SQL } from 'drizzle-orm'
import type { JobId } from '../../shared/ids.ts'
import type { Job, JobEvent, JobState, JobSubmission } from '../../shared/schema/job.ts'
import { withoutText } from '../domain/job-readers.ts'
import { finalStates, type JobResult } from '../domain/job-state.ts'
import { keptOf } from '../domain/prompt-length.ts'
import type { Queued, QueueOwner } from '../domain/queue-limits.ts'
import type { Store, Transaction } from './database.ts'
import { keyHash, type JobTexts } from './job-texts.ts'
import { jobEvents, jobs, textForms } from './tables.ts'
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

const without = <T extends object>(value: T): T => JSON.parse(JSON.stringify(value)) as T // drops undefined fields

export class JobStore {
  readonly #store: Store
  readonly #texts: JobTexts

  constructor(store: Store, texts: JobTexts) {
    this.#store = store
    this.#texts = texts
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
      this.#append(tx, jobId, (sequence) => ({ sequence, type: 'state', state: 'queued', worldSize: 0 }))
      return this.#jobOf(tx, row)
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
      return row && this.#jobOf(tx, row)
    })
  }

  find(jobId: string): Job | undefined {
    return this.#store.transaction((tx) => {
      const row = tx.select().from(jobs).where(eq(jobs.jobId, jobId)).get()
      return row && this.#jobOf(tx, row)
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
        .map((row) => this.#jobOf(tx, row)),
    )
  }

  /** What waits in a pool: in all, of the device that asks with all of its keys, and of the key that it came by. */
  queued(poolId: string, submittedBy: string, keyId: string): Record<QueueOwner, Queued> {
    const isMember = sql`${jobs.submittedBy} = ${submittedBy}`
    const sumOf = (value: SQL, isMeant: SQL): SQL<number> =>
      sql<number>`coalesce(sum(case when ${isMeant} then ${value} else 0 end), 0)`
    // octet_length reads the length alone: no prompt is loaded for it
    const [one, bytes] = [sql`1`, sql`octet_length(${jobs.submission}) + coalesce(octet_length(${jobs.asked}), 0)`]
    const isKey = sql`${isMember} and ${jobs.keyId} = ${keyId}`
    const sums = this.#store
      .select({
        jobs: sumOf(one, sql`true`),
        bytes: sumOf(bytes, sql`true`),
        jobsOfMember: sumOf(one, isMember),
        bytesOfMember: sumOf(bytes, isMember),
        jobsOfKey: sumOf(one, isKey),
        bytesOfKey: sumOf(bytes, isKey),
      })
      .from(jobs)
      .where(and(eq(jobs.poolId, poolId), eq(jobs.state, 'queued')))
      .get()
    return {
      pool: { jobs: sums?.jobs ?? 0, bytes: sums?.bytes ?? 0 },
      member: { jobs: sums?.jobsOfMember ?? 0, bytes: sums?.bytesOfMember ?? 0 },
      key: { jobs: sums?.jobsOfKey ?? 0, bytes: sums?.bytesOfKey ?? 0 },
    }
  }

  queuedInAll(): number {
    return this.#store.select({ jobs: count() }).from(jobs).where(eq(jobs.state, 'queued')).get()?.jobs ?? 0
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

  /** Ids of all jobs that wait for a ring of that model. */
  waiting(poolId: string, modelId: string): string[] {
    return this.#store
      .select({ jobId: jobs.jobId })
      .from(jobs)
      .where(and(eq(jobs.poolId, poolId), eq(jobs.modelId, modelId), eq(jobs.state, 'queued')))
      .all()
      .map(({ jobId }) => jobId)
  }

  /** Jobs that wait for a ring of that model, oldest first, without what they ask. */
  queue(poolId: string, modelId: string): Pick<Row, 'jobId' | 'submittedBy' | 'keyId' | 'createdAt'>[] {
    return this.#store
      .select({ jobId: jobs.jobId, submittedBy: jobs.submittedBy, keyId: jobs.keyId, createdAt: jobs.createdAt })
      .from(jobs)
      .where(and(eq(jobs.poolId, poolId), eq(jobs.modelId, modelId), eq(jobs.state, 'queued')))
      .orderBy(asc(jobs.createdAt), asc(jobs.jobId))
      .all()
  }

  /** Who has jobs in the queue of a pool. */
  waitingBySubmitter(poolId: string): { readonly submittedBy: string; readonly jobs: number }[] {
    return this.#store
      .select({ submittedBy: jobs.submittedBy, jobs: count() })
      .from(jobs)
      .where(and(eq(jobs.poolId, poolId), eq(jobs.state, 'queued')))
      .groupBy(jobs.submittedBy)
      .all()
  }

  /** Who has jobs in the queue of a model, and since when the oldest waits: each key by itself; the key of a device's own jobs is empty. */
  waitingByKey(
    poolId: string,
    modelId: string,
  ): { readonly submittedBy: string; readonly keyId: string; readonly since: number }[] {
    return this.#store
      .select({ submittedBy: jobs.submittedBy, keyId: jobs.keyId, since: sql<number>`min(${jobs.createdAt})` })
      .from(jobs)
      .where(and(eq(jobs.poolId, poolId), eq(jobs.modelId, modelId), eq(jobs.state, 'queued')))
      .groupBy(jobs.submittedBy, jobs.keyId)
      .all()
  }

  /** The job of that device, by that key or (empty) by none, that waits for longest. */
  next(poolId: string, modelId: string, { submittedBy, keyId }: Pick<Row, 'submittedBy' | 'keyId'>): Job | undefined {
    return this.#store.transaction((tx) => {
      const isTheirs = and(eq(jobs.submittedBy, submittedBy), eq(jobs.keyId, keyId))
      const isMeant = and(eq(jobs.poolId, poolId), eq(jobs.modelId, modelId), eq(jobs.state, 'queued'), isTheirs)
      const row = tx.select().from(jobs).where(isMeant).orderBy(asc(jobs.createdAt), asc(jobs.jobId)).get()
      return row && this.#jobOf(tx, row)
    })
  }

  /** Tokens that count against the quota of an API key: of jobs that ended at `since` or later, and of open ones. */
  tokensOfKey(keyId: string, since: number): { usedToday: number; reserved: number } {
    const isOpen = sql`${jobs.finishedAt} is null`
    const sums = this.#store
      .select({
        usedToday: sql<number | null>`sum(case when ${isOpen} then 0 else ${jobs.quotaTokens} end)`,
        reserved: sql<number | null>`sum(case when ${isOpen} then ${jobs.quotaTokens} else 0 end)`,
      })
      .from(jobs)
      .where(and(eq(jobs.keyId, keyId), or(isNull(jobs.finishedAt), gte(jobs.finishedAt, since))))
      .get()
    return { usedToday: sums?.usedToday ?? 0, reserved: sums?.reserved ?? 0 }
  }

  /** Jobs of an API key that have not ended. */
  openOfKey(keyId: string): string[] {
    return this.#store
      .select({ jobId: jobs.jobId })
      .from(jobs)
      .where(and(eq(jobs.keyId, keyId), isNull(jobs.finishedAt)))
      .all()
      .map(({ jobId }) => jobId)
  }

  /** Jobs that a ring had when the control plane stopped. */
  unfinished(): Job[] {
    return this.#store.transaction((tx) =>
      tx
        .select()
        .from(jobs)
        .where(inArray(jobs.state, ['assigned', 'running']))
        .all()
        .map((row) => this.#jobOf(tx, row)),
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
        : this.#append(tx, jobId, (sequence) => ({ sequence, type: 'state', state, worldSize: at.worldSize }))
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
      // A message is taken whole or not at all: its text belongs to all of its tokens, and a leader repeats whole messages.
      if (!row || !openStates.includes(row.state) || firstIndex !== row.received) return undefined
      tx.update(jobs)
        .set({ received: firstIndex + tokens.length })
        .where(eq(jobs.jobId, jobId))
        .run()
      return this.#append(tx, jobId, (sequence) => ({
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
      const streamed = this.#streamed(tx, jobId)
      const rest = result.text.startsWith(streamed.text) ? result.text.slice(streamed.text.length) : ''
      const events: JobEvent[] = []
      if (rest !== '' || result.tokens.length > streamed.tokens.length) {
        const tokens = result.tokens.slice(streamed.tokens.length)
        events.push(
          this.#append(tx, jobId, (sequence) => ({
            sequence,
            type: 'tokens',
            firstIndex: streamed.tokens.length,
            tokens,
            text: rest,
          })),
        )
      }
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
      const job = this.#jobOf(tx, { ...row, ...change })
      events.push(this.#append(tx, jobId, (sequence) => ({ sequence, type: 'end', job })))
      return events
    })
  }

  /** The next events, at most so many, with a higher sequence number; of what is forgotten those without text. Empty: no more. */
  events(jobId: string, after: number, most = Number.MAX_SAFE_INTEGER): JobEvent[] {
    for (let from = after; ;) {
      const { events, last } = this.#page(jobId, from, most)
      if (events.length > 0 || last === undefined) return events
      from = last // all of them are forgotten
    }
  }

  #page(jobId: string, after: number, most: number): { readonly events: JobEvent[]; readonly last?: number } {
    return this.#store.transaction((tx) => {
      const isMeant = and(eq(jobEvents.jobId, jobId), gt(jobEvents.sequence, after))
      const rows = tx.select().from(jobEvents).where(isMeant).orderBy(asc(jobEvents.sequence)).limit(most).all()
      const events = rows.flatMap((row): JobEvent[] => {
        const { event } = row
        if (event.type === 'state') return [event]
        const tokens = this.#texts.tokensIn(row)
        if (event.type === 'tokens') return tokens ? [tokens] : []
        const ended = tx.select().from(jobs).where(eq(jobs.jobId, jobId)).get()
        return ended ? [{ sequence: event.sequence, type: 'end', job: this.#jobOf(tx, ended) }] : []
      })
      return { events, last: rows.at(-1)?.sequence }
    })
  }

  #append(tx: Transaction, jobId: string, make: (sequence: number) => JobEvent): JobEvent {
    const last =
      tx
        .select({ last: max(jobEvents.sequence) })
        .from(jobEvents)
        .where(eq(jobEvents.jobId, jobId))
        .get()?.last ?? -1
    const event = make(last + 1)
    tx.insert(jobEvents)
      .values({ jobId, sequence: event.sequence, ...this.#texts.event(jobId, event) })
      .run()
    return event
  }

  #streamed(tx: Transaction, jobId: string): { text: string; tokens: number[] } {
    const streamed = { text: '', tokens: [] as number[] }
    for (const row of tx
      .select()
      .from(jobEvents)
      .where(eq(jobEvents.jobId, jobId))
      .orderBy(asc(jobEvents.sequence))
      .all()) {
      const tokens = this.#texts.tokensIn(row)
      streamed.text += tokens?.text ?? ''
      streamed.tokens.push(...(tokens?.tokens ?? []))
    }
    return streamed
  }

  /** A job that is not final shows what arrived so far; one whose text cannot be read any more what is no text. */
  #jobOf(tx: Transaction, row: Row): Job {
    const asked = this.#texts.askedIn(row)
    const isOpen = row.result === null
    const result = isOpen && asked ? this.#streamed(tx, row.jobId) : this.#texts.resultIn(row)
    const job: Job = without({
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
