/** How many bytes a device has room for in one ring: never more than it locked. */
import { type LockPhase, usableBytes } from '../../shared/schema/lock.ts'

export interface MemoryFacts {
  /** Its newest lock, if there is one. */
  readonly lock: { readonly phase: LockPhase; readonly memoryBytes: number } | undefined
  /** What its machine may use at most, as measured when it registered. */
  readonly machineBytes: number
  /** What the machine lacks to keep the lock. */
  readonly missingBytes: number
  /** Planned for it in the present epoch of this ring. */
  readonly heldHereBytes: number
  /** Planned for it in the epochs of other rings. */
  readonly heldElsewhereBytes: number
}

/** True while the owner may not take it back. */
export const isCommitted = (lock: MemoryFacts['lock']): lock is NonNullable<MemoryFacts['lock']> =>
  lock !== undefined && lock.phase !== 'released'

/**
 * A device that never locked anything is bounded by what its machine has. A degraded one keeps what it has and gets
 * nothing new. The same buffer stays free in every case.
 */
export const roomOf = ({
  lock,
  machineBytes,
  missingBytes,
  heldHereBytes,
  heldElsewhereBytes,
}: MemoryFacts): number => {
  const room = usableBytes(isCommitted(lock) ? lock.memoryBytes : machineBytes) - heldElsewhereBytes
  return Math.max(0, isCommitted(lock) && missingBytes > 0 ? Math.min(room, heldHereBytes) : room)
}
