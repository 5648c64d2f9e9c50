/** Tables of membership: removals, and requests that were seen. A change needs a migration, as in `tables.ts`. */
import { index, integer, primaryKey, sqliteTable, text } from 'drizzle-orm/sqlite-core'
import { pools } from './tables.ts'

/** The newest revocation list of each pool. */
export const revocations = sqliteTable('revocations', {
  poolId: text('pool_id')
    .primaryKey()
    .references(() => pools.poolId),
  list: text('list').notNull(),
})

/** Which control plane serves each pool: the newest statement of its admins. */
export const controlPlanePins = sqliteTable('control_plane_pins', {
  poolId: text('pool_id')
    .primaryKey()
    .references(() => pools.poolId),
  pin: text('pin').notNull(),
})

/** Nonces of signed requests, kept for as long as a request would be accepted. */
export const requestNonces = sqliteTable(
  'request_nonces',
  {
    deviceId: text('device_id').notNull(),
    nonce: text('nonce').notNull(),
    expiresAt: integer('expires_at').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.deviceId, table.nonce] }),
    index('request_nonces_expiry').on(table.expiresAt),
  ],
)
