/** Table of API keys. A change needs a migration, as in `tables.ts`. What they used is in the table of jobs. */
import { index, integer, sqliteTable, text } from 'drizzle-orm/sqlite-core'
import { pools } from './tables.ts'

export const apiKeys = sqliteTable(
  'api_keys',
  {
    keyId: text('key_id').primaryKey(),
    poolId: text('pool_id')
      .notNull()
      .references(() => pools.poolId),
    /** The device that made it, and pays for it. */
    deviceId: text('device_id').notNull(),
    name: text('name').notNull(),
    /** SHA-256 of the key: the key itself is stored nowhere. */
    hash: text('hash').notNull(),
    tokensPerDay: integer('tokens_per_day'),
    createdAt: integer('created_at').notNull(),
    expiresAt: integer('expires_at').notNull(),
    revokedAt: integer('revoked_at'),
    lastUsedAt: integer('last_used_at'),
  },
  (table) => [index('api_keys_maker').on(table.poolId, table.deviceId)],
)
