/** Table of what is to a member's charge. A change here needs a migration, as in `tables.ts`. */
import { integer, primaryKey, real, sqliteTable, text } from 'drizzle-orm/sqlite-core'
import { pools } from './tables.ts'

/** What spot checks found last of a member in the rings of a model: one row for each, the newest. */
export const sumFindings = sqliteTable(
  'sum_findings',
  {
    poolId: text('pool_id')
      .notNull()
      .references(() => pools.poolId),
    modelId: text('model_id').notNull(),
    deviceId: text('device_id').notNull(),
    verdict: text('verdict').$type<'disputed' | 'wrong'>().notNull(),
    /** Device ids of those that say so. */
    accusers: text('accusers', { mode: 'json' }).$type<readonly string[]>().notNull(),
    checks: integer('checks').notNull(),
    wrong: integer('wrong').notNull(),
    worst: real('worst').notNull(),
    epoch: integer('epoch').notNull(),
    at: integer('at').notNull(),
  },
  (table) => [primaryKey({ columns: [table.poolId, table.modelId, table.deviceId] })],
)
