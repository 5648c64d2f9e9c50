/** Tables. A change here needs a migration: `npx drizzle-kit generate --config control-plane/drizzle.config.ts`. */
import { blob, index, integer, primaryKey, real, sqliteTable, text, uniqueIndex } from 'drizzle-orm/sqlite-core'
import type { Capabilities } from '../../shared/schema/device.ts'
import type { AskedJob, Job, JobEvent } from '../../shared/schema/job.ts'
import type { ModelManifest, Quant } from '../../shared/schema/model.ts'
import type { ErrorReportJson } from '../../shared/schema/common.ts'
import type { InviteProof, Role } from '../../shared/schema/pool.ts'
import type { RingMember } from '../../shared/schema/ring.ts'

export const networks = sqliteTable('networks', {
  networkId: text('network_id').primaryKey(),
  createdAt: integer('created_at').notNull(),
})

export const devices = sqliteTable('devices', {
  deviceId: text('device_id').primaryKey(),
  networkId: text('network_id')
    .notNull()
    .references(() => networks.networkId),
  name: text('name').notNull(),
  capabilities: text('capabilities', { mode: 'json' }).$type<Capabilities>().notNull(),
  createdAt: integer('created_at').notNull(),
  lastSeenAt: integer('last_seen_at').notNull(),
})

export const pools = sqliteTable('pools', {
  poolId: text('pool_id').primaryKey(),
  networkId: text('network_id')
    .notNull()
    .references(() => networks.networkId),
  name: text('name').notNull(),
  rootPublicKey: text('root_public_key').notNull(),
  /** What its root key signed that it is made to be; null: made without, as all once were. */
  charter: text('charter'),
  createdAt: integer('created_at').notNull(),
})

export const memberships = sqliteTable(
  'memberships',
  {
    poolId: text('pool_id')
      .notNull()
      .references(() => pools.poolId),
    deviceId: text('device_id').notNull(),
    role: text('role').$type<Role>().notNull(),
    certificate: text('certificate').notNull(),
    notAfter: integer('not_after').notNull(),
  },
  (table) => [primaryKey({ columns: [table.poolId, table.deviceId] }), index('memberships_device').on(table.deviceId)],
)

export const joinRequests = sqliteTable(
  'join_requests',
  {
    poolId: text('pool_id')
      .notNull()
      .references(() => pools.poolId),
    deviceId: text('device_id')
      .notNull()
      .references(() => devices.deviceId),
    createdAt: integer('created_at').notNull(),
    invite: text('invite', { mode: 'json' }).$type<InviteProof>(),
    /** Why it was denied; null while it waits. */
    denied: text('denied', { mode: 'json' }).$type<ErrorReportJson>(),
  },
  (table) => [primaryKey({ columns: [table.poolId, table.deviceId] })],
)

export const rings = sqliteTable(
  'rings',
  {
    ringId: text('ring_id').primaryKey(),
    poolId: text('pool_id')
      .notNull()
      .references(() => pools.poolId),
    modelId: text('model_id').notNull(),
    quant: text('quant').$type<Quant>().notNull(),
    model: text('model', { mode: 'json' }).$type<ModelManifest>().notNull(),
    /** The newest epoch that was formed; 0 before the first. Only grows. */
    epoch: integer('epoch').notNull(),
    members: text('members', { mode: 'json' }).$type<RingMember[]>().notNull(),
    updatedAt: integer('updated_at').notNull(),
  },
  (table) => [uniqueIndex('rings_pool_model').on(table.poolId, table.modelId)],
)

/** Devices that want to take part in a ring, whether they are online or not. */
export const ringIntents = sqliteTable(
  'ring_wishes',
  {
    ringId: text('ring_id')
      .notNull()
      .references(() => rings.ringId),
    deviceId: text('device_id')
      .notNull()
      .references(() => devices.deviceId),
    share: real('share').notNull(),
    joinedAt: integer('joined_at').notNull(),
  },
  (table) => [primaryKey({ columns: [table.ringId, table.deviceId] })],
)

/**
 * How the text of a job lies here. `plain`: as older versions wrote it, sealed soon after the start. `forgetting`: no
 * longer read by anybody, its pieces are still to be deleted.
 */
export const textForms = { plain: 0, sealed: 1, forgetting: 2, forgotten: 3 } as const

export const jobs = sqliteTable(
  'jobs',
  {
    jobId: text('job_id').primaryKey(),
    poolId: text('pool_id')
      .notNull()
      .references(() => pools.poolId),
    submittedBy: text('submitted_by').notNull(),
    /** The API key it came by; empty for the device itself, because in the unique index every NULL would be another. */
    keyId: text('key_id').notNull().default(''),
    /** Counted against the quota of its key: while it is open the most that it may use, then what it used. */
    quotaTokens: integer('quota_tokens').notNull().default(0),
    /** Its hash; of older versions the key itself. */
    idempotencyKey: text('idempotency_key').notNull(),
    modelId: text('model_id').notNull(),
    /** What is asked, without its text. */
    submission: text('submission', { mode: 'json' }).$type<AskedJob>().notNull(),
    textForm: integer('text_form').notNull().default(textForms.plain),
    /** Text of what is asked, and of what came of it, sealed: `text-vault.ts`. */
    asked: blob('asked', { mode: 'buffer' }),
    answer: blob('answer', { mode: 'buffer' }),
    /** From when on its text is kept for as long as texts are; null while it is open. */
    textSince: integer('text_since'),
    state: text('state').$type<Job['state']>().notNull(),
    worldSize: integer('world_size').notNull(),
    epoch: integer('epoch').notNull(),
    /** Number of tokens that arrived so far. */
    received: integer('received').notNull(),
    /** What only a finished job has, without its text: usage, timings, kind of failure, whether its prompt was cut. */
    result: text('result', { mode: 'json' }).$type<
      Pick<Job, 'finishReason' | 'usage' | 'timings' | 'error' | 'promptCut'>
    >(),
    createdAt: integer('created_at').notNull(),
    startedAt: integer('started_at'),
    /** When somebody asked to cancel it; rank 0 may not have heard of that yet. */
    cancelRequestedAt: integer('cancel_requested_at'),
    finishedAt: integer('finished_at'),
  },
  (table) => [
    uniqueIndex('jobs_idempotency').on(table.poolId, table.submittedBy, table.keyId, table.idempotencyKey),
    index('jobs_key').on(table.keyId, table.finishedAt),
    index('jobs_text').on(table.textForm, table.textSince),
    index('jobs_queue').on(table.poolId, table.modelId, table.state, table.createdAt),
  ],
)

/** The row of an event: tokens and text of those that have any lie sealed beside it, the end of a job in the job. */
export type StoredEvent =
  | Extract<JobEvent, { type: 'state' }>
  | Pick<Extract<JobEvent, { type: 'tokens' }>, 'sequence' | 'type' | 'firstIndex'>
  | { readonly sequence: number; readonly type: 'end' }

/** What streams to clients, numbered per job, so that a client can go on where it was cut off. */
export const jobEvents = sqliteTable(
  'job_events',
  {
    jobId: text('job_id')
      .notNull()
      .references(() => jobs.jobId),
    sequence: integer('sequence').notNull(),
    /** Without its text; of older versions with it. */
    event: text('event', { mode: 'json' }).$type<StoredEvent>().notNull(),
    /** Tokens and their text, sealed. */
    piece: blob('piece', { mode: 'buffer' }),
  },
  (table) => [primaryKey({ columns: [table.jobId, table.sequence] })],
)
