/** Credits: finished jobs that wait for statements, the ledger, and its sums. Each method is one transaction. */
import { and, asc, count, desc, eq, getTableColumns, gt, gte, isNull, lte, sql } from 'drizzle-orm'
import { hashOf, noHash } from '../../shared/ledger/entry.ts'
import { billOf, entriesOf, type FinishedJob, type StatementOf } from '../../shared/ledger/job-entries.ts'
import type { LedgerEntry, SignedStatement } from '../../shared/schema/credits.ts'
import type { Store } from './database.ts'
import { billedJobs, creditDays, jobStatements, ledgerEntries, participants } from './credit-tables.ts'
import { jobs } from './tables.ts'

export interface BilledJob extends FinishedJob {
  readonly poolId: string
  readonly finishedAt: number
  readonly isSettled: boolean
}

/** Sums of one device, in credits. */
export interface CreditSums {
  readonly deviceId: string
  readonly earned: number
  readonly used: number
  readonly recentlyEarned: number
  readonly recentlyUsed: number
}

const { poolId: _pool, ...entryColumns } = getTableColumns(ledgerEntries)

const dayMs = 86_400_000
const dayOf = (time: number): number => Math.floor(time / dayMs)

/** Statements of the hot path, prepared once: building one takes longer than running it. */
const prepare = (store: Store) => {
  const at = sql.placeholder
  return {
    job: store
      .select()
      .from(billedJobs)
      .where(eq(billedJobs.jobId, at('jobId')))
      .prepare(),
    statements: store
      .select({ deviceId: jobStatements.deviceId, statement: jobStatements.statement })
      .from(jobStatements)
      .where(eq(jobStatements.jobId, at('jobId')))
      .prepare(),
    last: store
      .select({ sequence: ledgerEntries.sequence, hash: ledgerEntries.hash })
      .from(ledgerEntries)
      .where(eq(ledgerEntries.poolId, at('poolId')))
      .orderBy(desc(ledgerEntries.sequence))
      .limit(1)
      .prepare(),
    append: store
      .insert(ledgerEntries)
      .values({
        poolId: at('poolId'),
        sequence: at('sequence'),
        deviceId: at('deviceId'),
        kind: at('kind'),
        jobId: at('jobId'),
        epoch: at('epoch'),
        weights: at('weights'),
        tokens: at('tokens'),
        computeUs: at('computeUs'),
        modelWeights: at('modelWeights'),
        amount: at('amount'),
        settledAt: at('settledAt'),
        signature: at('signature'),
        hash: at('hash'),
      })
      .prepare(),
    sum: store
      .insert(creditDays)
      .values({
        poolId: at('poolId'),
        deviceId: at('deviceId'),
        day: at('day'),
        earned: at('earned'),
        used: at('used'),
      })
      .onConflictDoUpdate({
        target: [creditDays.poolId, creditDays.deviceId, creditDays.day],
        set: { earned: sql`${creditDays.earned} + excluded.earned`, used: sql`${creditDays.used} + excluded.used` },
      })
      .prepare(),
    join: store
      .insert(participants)
      .values({ poolId: at('poolId'), deviceId: at('deviceId'), since: at('since') })
      .onConflictDoNothing()
      .prepare(),
    settled: store
      .update(billedJobs)
      .set({ settledAt: sql`${at('now')}` })
      .where(eq(billedJobs.jobId, at('jobId')))
      .prepare(),
    forget: store
      .delete(jobStatements)
      .where(eq(jobStatements.jobId, at('jobId')))
      .prepare(),
    keep: store
      .insert(jobStatements)
      .values({ jobId: at('jobId'), deviceId: at('deviceId'), kind: at('kind'), statement: at('statement') })
      .onConflictDoNothing()
      .prepare(),
    open: store
      .insert(billedJobs)
      .values({
        jobId: at('jobId'),
        poolId: at('poolId'),
        submittedBy: at('submittedBy'),
        epoch: at('epoch'),
        modelWeights: at('modelWeights'),
        tokens: at('tokens'),
        mostTokens: at('mostTokens'),
        workers: at('workers'),
        finishedAt: at('finishedAt'),
        settledAt: null,
      })
      .onConflictDoNothing()
      .prepare(),
  }
}

export class CreditStore {
  readonly #store: Store
  readonly #prepared: ReturnType<typeof prepare>

  constructor(store: Store) {
    this.#store = store
    this.#prepared = prepare(store)
  }

  /** Several calls as one: all of it is stored, or nothing. */
  together<T>(work: () => T): T {
    return this.#store.transaction(work)
  }

  /** A device takes part in a pool; only the first time counts. */
  join(poolId: string, deviceId: string, since: number): void {
    this.#prepared.join.run({ poolId, deviceId, since })
  }

  participants(poolId: string): { readonly deviceId: string; readonly since: number }[] {
    return this.#store
      .select({ deviceId: participants.deviceId, since: participants.since })
      .from(participants)
      .where(eq(participants.poolId, poolId))
      .orderBy(asc(participants.since), asc(participants.deviceId))
      .all()
  }

  /** A job ended that is to be settled. Repeating it changes nothing. */
  open(poolId: string, job: FinishedJob, finishedAt: number): void {
    this.#prepared.open.run({ ...job, poolId, finishedAt })
  }

  find(jobId: string): BilledJob | undefined {
    const row = this.#prepared.job.get({ jobId })
    if (!row) return undefined
    const { settledAt, ...job } = row
    return { ...job, isSettled: settledAt !== null }
  }

  /** Keeps what a device said, unless it said something of that job before. */
  keep(deviceId: string, statement: SignedStatement): void {
    this.#prepared.keep.run({ jobId: statement.jobId, deviceId, kind: statement.kind, statement })
  }

  statements(jobId: string): StatementOf[] {
    return this.#prepared.statements.all({ jobId }).map(({ deviceId, statement }) => ({ ...statement, deviceId }))
  }

  /** The job ended without anything to settle. */
  forget(jobId: string): void {
    this.#prepared.forget.run({ jobId })
  }

  /** That device earns nothing of a job that is not settled. */
  spoil(jobId: string, deviceId: string): void {
    this.#store.transaction((tx) => {
      const job = this.find(jobId)
      if (!job || job.isSettled) return
      const workers = job.workers.map((worker) =>
        worker.deviceId === deviceId ? { ...worker, isWrong: true } : worker,
      )
      tx.update(billedJobs).set({ workers }).where(eq(billedJobs.jobId, jobId)).run()
    })
  }

  /**
   * Writes the entries of a finished job, once.
   * @returns false when there is no such job or it was settled before
   */
  settle(jobId: string, now: number): boolean {
    return this.#store.transaction(() => {
      const job = this.find(jobId)
      if (!job || job.isSettled) return false
      const { poolId } = job
      let { sequence, hash } = this.#prepared.last.get({ poolId }) ?? { sequence: 0, hash: noHash }
      const statements = this.statements(jobId)
      for (const {
        deviceId,
        kind,
        epoch,
        weights,
        tokens,
        computeUs,
        modelWeights,
        amount,
        settledAt,
        signature,
      } of entriesOf(job, statements, now)) {
        const entry = {
          sequence: ++sequence,
          deviceId,
          kind,
          jobId,
          epoch,
          weights,
          tokens,
          computeUs,
          modelWeights,
          amount,
          settledAt,
          signature,
        }
        hash = hashOf(poolId, hash, entry)
        this.#prepared.append.run({ poolId, ...entry, hash })
        this.#prepared.sum.run({
          poolId,
          deviceId,
          day: dayOf(now),
          earned: Math.max(amount, 0),
          used: Math.max(-amount, 0),
        })
        this.join(poolId, deviceId, now)
      }
      const bill = billOf(job, statements)
      // the quota of an API key was charged with what rank 0 claimed
      if (bill.isCorrected)
        this.#store.update(jobs).set({ quotaTokens: bill.tokens }).where(eq(jobs.jobId, jobId)).run()
      this.#prepared.settled.run({ jobId, now })
      this.forget(jobId)
      return true
    })
  }

  /** Jobs that ended at `before` or earlier and are not settled, oldest first. */
  due(before: number, limit: number): string[] {
    return this.#store
      .select({ jobId: billedJobs.jobId })
      .from(billedJobs)
      .where(and(isNull(billedJobs.settledAt), lte(billedJobs.finishedAt, before)))
      .orderBy(asc(billedJobs.finishedAt))
      .limit(limit)
      .all()
      .map(({ jobId }) => jobId)
  }

  unsettled(poolId: string): number {
    return (
      this.#store
        .select({ jobs: count() })
        .from(billedJobs)
        .where(and(isNull(billedJobs.settledAt), eq(billedJobs.poolId, poolId)))
        .get()?.jobs ?? 0
    )
  }

  /** Entries in order. @param after number of the last entry that is known @param since leaves out what was settled earlier */
  entries(
    poolId: string,
    { after, since, limit }: { readonly after: number; readonly since: number; readonly limit: number },
  ): LedgerEntry[] {
    return this.#store
      .select(entryColumns)
      .from(ledgerEntries)
      .where(
        and(eq(ledgerEntries.poolId, poolId), gt(ledgerEntries.sequence, after), gte(ledgerEntries.settledAt, since)),
      )
      .orderBy(asc(ledgerEntries.sequence))
      .limit(limit)
      .all()
  }

  /** Sums of every device with an entry. @param recent from that time on, to the day, counts as recent */
  sums(poolId: string, recent: number): CreditSums[] {
    const isRecent = sql`${creditDays.day} >= ${dayOf(recent)}`
    return this.#store
      .select({
        deviceId: creditDays.deviceId,
        earned: sql<number>`sum(${creditDays.earned})`,
        used: sql<number>`sum(${creditDays.used})`,
        recentlyEarned: sql<number>`sum(case when ${isRecent} then ${creditDays.earned} else 0 end)`,
        recentlyUsed: sql<number>`sum(case when ${isRecent} then ${creditDays.used} else 0 end)`,
      })
      .from(creditDays)
      .where(eq(creditDays.poolId, poolId))
      .groupBy(creditDays.deviceId)
      .all()
  }
}
