/** Finished jobs that wait for statements, until they are settled in the ledger. Each method is one transaction. */
import { and, asc, count, eq, isNull, lte, sql } from 'drizzle-orm'
import { billOf, entriesOf, type FinishedJob, type StatementOf } from '../../shared/ledger/job-entries.ts'
import type { SignedStatement } from '../../shared/schema/credits.ts'
import type { Store } from './database.ts'
import { billedJobs, jobStatements } from './credit-tables.ts'
import { LedgerStore } from './ledger-store.ts'
import { jobs } from './tables.ts'

export interface BilledJob extends FinishedJob {
  readonly poolId: string
  readonly finishedAt: number
  readonly isSettled: boolean
}

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
  /** Where settled jobs are written. */
  readonly ledger: LedgerStore

  constructor(store: Store, ledger = new LedgerStore(store)) {
    this.#store = store
    this.ledger = ledger
    this.#prepared = prepare(store)
  }

  /** Several calls as one: all of it is stored, or nothing. */
  together<T>(work: () => T): T {
    return this.#store.transaction(work)
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
      const statements = this.statements(jobId)
      const entries = entriesOf(job, statements, now).map((entry) => ({ ...entry, jobId }))
      this.ledger.append(job.poolId, entries, now)
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
}
