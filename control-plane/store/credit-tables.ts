/** Tables of credits. A change here needs a migration, as in `tables.ts`. */
import { index, integer, primaryKey, sqliteTable, text, uniqueIndex } from 'drizzle-orm/sqlite-core'
import type { FinishedJob } from '../../shared/ledger/job-entries.ts'
import type { SignedStatement } from '../../shared/schema/credits.ts'
import { jobs, pools } from './tables.ts'

/** Jobs that cost something, from their end on; how they will be settled if no device says a word. */
export const billedJobs = sqliteTable(
  'billed_jobs',
  {
    jobId: text('job_id')
      .primaryKey()
      .references(() => jobs.jobId),
    poolId: text('pool_id')
      .notNull()
      .references(() => pools.poolId),
    submittedBy: text('submitted_by').notNull(),
    epoch: integer('epoch').notNull(),
    modelWeights: integer('model_weights').notNull(),
    tokens: integer('tokens').notNull(),
    mostTokens: integer('most_tokens')
      .notNull()
      .default(2 ** 32 - 1),
    workers: text('workers', { mode: 'json' }).$type<FinishedJob['workers']>().notNull(),
    finishedAt: integer('finished_at').notNull(),
    settledAt: integer('settled_at'),
  },
  (table) => [index('billed_jobs_due').on(table.settledAt, table.finishedAt)],
)

/** What devices said of jobs that are not settled yet; the first word of each counts. */
export const jobStatements = sqliteTable(
  'job_statements',
  {
    jobId: text('job_id')
      .notNull()
      .references(() => jobs.jobId),
    deviceId: text('device_id').notNull(),
    kind: text('kind').$type<SignedStatement['kind']>().notNull(),
    statement: text('statement', { mode: 'json' }).$type<SignedStatement>().notNull(),
  },
  (table) => [primaryKey({ columns: [table.jobId, table.deviceId, table.kind] })],
)

/** Only grows: triggers refuse every change of a row. Columns as in `LedgerEntry`. */
export const ledgerEntries = sqliteTable(
  'ledger_entries',
  {
    poolId: text('pool_id')
      .notNull()
      .references(() => pools.poolId),
    sequence: integer('sequence').notNull(),
    deviceId: text('device_id').notNull(),
    kind: text('kind').$type<SignedStatement['kind']>().notNull(),
    jobId: text('job_id').notNull(),
    epoch: integer('epoch').notNull(),
    weights: integer('weights').notNull(),
    tokens: integer('tokens').notNull(),
    computeUs: integer('compute_us').notNull(),
    modelWeights: integer('model_weights').notNull(),
    amount: integer('amount').notNull(),
    settledAt: integer('settled_at').notNull(),
    signature: text('signature'),
    hash: text('hash').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.poolId, table.sequence] }),
    // one job is settled once, whatever happens
    uniqueIndex('ledger_entries_once').on(table.jobId, table.kind, table.deviceId),
    index('ledger_entries_time').on(table.poolId, table.settledAt),
  ],
)

/** Sums of the ledger by day, so that nobody has to read all of it to know who has what. */
export const creditDays = sqliteTable(
  'credit_days',
  {
    poolId: text('pool_id')
      .notNull()
      .references(() => pools.poolId),
    deviceId: text('device_id').notNull(),
    /** Days since 1970-01-01 UTC. */
    day: integer('day').notNull(),
    earned: integer('earned').notNull(),
    used: integer('used').notNull(),
  },
  (table) => [primaryKey({ columns: [table.poolId, table.deviceId, table.day] })],
)

/** Who took part in a pool, and since when: the time of grace begins there. */
export const participants = sqliteTable(
  'participants',
  {
    poolId: text('pool_id')
      .notNull()
      .references(() => pools.poolId),
    deviceId: text('device_id').notNull(),
    since: integer('since').notNull(),
  },
  (table) => [primaryKey({ columns: [table.poolId, table.deviceId] })],
)
