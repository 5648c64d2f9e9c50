/** Table of memory locks. */
import { integer, sqliteTable, text } from 'drizzle-orm/sqlite-core'
import type { LockPhase } from '../../shared/schema/lock.ts'
import { devices } from './tables.ts'

/** The newest signed statement of each device. */
export const resourceLocks = sqliteTable('resource_locks', {
  deviceId: text('device_id')
    .primaryKey()
    .references(() => devices.deviceId),
  /** Numbered by the device; only grows. */
  sequence: integer('sequence').notNull(),
  phase: text('phase').$type<LockPhase>().notNull(),
  memoryBytes: integer('memory_bytes').notNull(),
  cooldownMs: integer('cooldown_ms').notNull(),
  statement: text('statement').notNull(),
  recordedAt: integer('recorded_at').notNull(),
})
