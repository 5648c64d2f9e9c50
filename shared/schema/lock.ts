/** A memory lock: what a device commits to its pools, and what is known of it. */
import { Type } from 'typebox'
import { Count, Time } from './common.ts'

/**
 * `locked`: committed. `cooling`: unlocked by its owner, but still committed until the cooldown ends. `released`: no
 * commitment any more.
 */
export const LockPhase = Type.Union([Type.Literal('locked'), Type.Literal('cooling'), Type.Literal('released')])
export type LockPhase = Type.Static<typeof LockPhase>

/** What one signed statement says; a device numbers its statements, the highest number holds. */
export const Commitment = Type.Object({
  sequence: Type.Integer({ minimum: 1, maximum: 2 ** 32 - 1 }),
  phase: LockPhase,
  /** 0 when released. */
  memoryBytes: Type.Integer({ minimum: 0, maximum: 2 ** 50 }),
  cooldownMs: Type.Integer({ minimum: 0, maximum: 2 ** 40 }),
  /** When it was signed, by the clock of the device: for people; nothing is decided by it. */
  at: Time,
})
export type Commitment = Type.Static<typeof Commitment>

/** Text form of a signed statement, as in `identity/lock-statement.ts`. */
export const LockText = Type.String({ minLength: 1, maxLength: 1000, pattern: '^[A-Za-z0-9_-]+$' })

/** What the control plane holds of a device: the newest statement, if there is one. */
export const LockRecord = Type.Object({ statement: Type.Union([LockText, Type.Null()]) })
export type LockRecord = Type.Static<typeof LockRecord>

/** A lock as members of a pool see it. */
export const LockView = Type.Object({
  phase: LockPhase,
  memoryBytes: Count,
  /**
   * Bytes that the machine lacks to keep the commitment; above 0 it is degraded. Only its agent knows: 0 when offline.
   */
  missingBytes: Count,
})
export type LockView = Type.Static<typeof LockView>

/** Part of a lock that is never given out: what the operating system and the runtime need beside shard and cache. */
export const bufferShare = 0.07

/** Bytes of a lock that shards and caches may take. */
export const usableBytes = (memoryBytes: number): number => Math.floor(memoryBytes * (1 - bufferShare))
