/**
 * The memory lock of a device as a pure state machine.
 *
 *   released --lock--> locked --unlock--> cooling --time--> released
 *                      locked <--lock---- cooling
 *
 * A lock may grow at any time and never shrinks: not while locked, and not before the cooldown ended. The cooldown is
 * part of the commitment, so it cannot be made shorter either. Whether the machine can keep a lock is not a phase of
 * it but measured beside it (`standing.missingBytes` > 0: degraded).
 */
import { MeshError } from '../../shared/errors.ts'
import { type Commitment, usableBytes } from '../../shared/schema/lock.ts'
import { formatBytes, formatDuration, formatTime } from '../../shared/words.ts'
import { advance, type ClockReading, type Countdown, startCountdown } from './elapsed.ts'

/** A commitment with the countdown that runs while it cools. */
export interface ResourceLock {
  readonly commitment: Commitment
  readonly countdown?: Countdown
}

export interface LockRequest {
  readonly memoryBytes: number
  /** Absent: as before, or 24 hours. */
  readonly cooldownMs?: number
}

export const defaultCooldownMs = 24 * 3600e3

/** Milliseconds until a lock ends; `undefined` while nobody unlocked it. */
export const remainingOf = ({ commitment, countdown }: ResourceLock, now: ClockReading): number | undefined =>
  commitment.phase !== 'cooling'
    ? undefined
    : countdown === undefined
      ? commitment.cooldownMs
      : advance(countdown, now).remainingMs

/** The lock that holds now: one whose cooldown ended holds nothing. */
const held = (lock: ResourceLock | undefined, now: ClockReading): ResourceLock | undefined =>
  lock === undefined || lock.commitment.phase === 'released' || remainingOf(lock, now) === 0 ? undefined : lock

const next = (
  lock: ResourceLock | undefined,
  now: ClockReading,
  change: Pick<Commitment, 'phase' | 'memoryBytes' | 'cooldownMs'>,
): Commitment => ({
  ...change,
  sequence: (lock?.commitment.sequence ?? 0) + 1,
  at: Math.max(0, Math.floor(now.wallMs / 1000) * 1000),
})

/** `2026-11-22 07:10 UTC`, if the machine stays on. */
export const untilText = (remainingMs: number, now: Pick<ClockReading, 'wallMs'>): string =>
  formatTime(now.wallMs + remainingMs)

const refuseShrink = (
  { commitment, countdown }: ResourceLock,
  wanted: Required<LockRequest>,
  now: ClockReading,
): void => {
  if (wanted.memoryBytes >= commitment.memoryBytes && wanted.cooldownMs >= commitment.cooldownMs) return
  const locked = formatBytes(commitment.memoryBytes)
  const remainingMs = remainingOf({ commitment, countdown }, now)
  if (remainingMs !== undefined)
    throw new MeshError('lockCooling', {
      locked,
      until: untilText(remainingMs, now),
      left: formatDuration(remainingMs),
    })
  throw new MeshError('lockShrinks', { locked, cooldown: formatDuration(commitment.cooldownMs) })
}

/**
 * @returns the lock after the request; the same object when it changes nothing
 * @throws MeshError `lockShrinks` | `lockCooling` (less memory or a shorter cooldown than is committed)
 */
export const lock = (before: ResourceLock | undefined, request: LockRequest, now: ClockReading): ResourceLock => {
  const present = held(before, now)
  const wanted = {
    memoryBytes: request.memoryBytes,
    cooldownMs: request.cooldownMs ?? present?.commitment.cooldownMs ?? defaultCooldownMs,
  }
  if (present !== undefined) {
    refuseShrink(present, wanted, now)
    const { phase, memoryBytes, cooldownMs } = present.commitment
    if (phase === 'locked' && memoryBytes === wanted.memoryBytes && cooldownMs === wanted.cooldownMs) return present
  }
  return { commitment: next(before, now, { phase: 'locked', ...wanted }) }
}

/** @returns the lock that cools; the same object when it does already. @throws MeshError `notLocked` */
export const unlock = (before: ResourceLock | undefined, now: ClockReading): ResourceLock => {
  const present = held(before, now)
  if (present === undefined) throw new MeshError('notLocked')
  const { phase, memoryBytes, cooldownMs } = present.commitment
  if (phase === 'cooling') return present
  if (cooldownMs === 0) return { commitment: next(before, now, { phase: 'released', memoryBytes: 0, cooldownMs: 0 }) }
  return {
    commitment: next(before, now, { phase: 'cooling', memoryBytes, cooldownMs }),
    countdown: startCountdown(cooldownMs, now),
  }
}

/** The released lock when a cooldown has ended, else `undefined`. */
export const release = (before: ResourceLock | undefined, now: ClockReading): ResourceLock | undefined =>
  before !== undefined && remainingOf(before, now) === 0
    ? { commitment: next(before, now, { phase: 'released', memoryBytes: 0, cooldownMs: 0 }) }
    : undefined

/** Where a lock stands. */
export interface Standing {
  readonly phase: 'unlocked' | 'locked' | 'cooling'
  /** What is committed now. */
  readonly memoryBytes: number
  readonly cooldownMs: number
  readonly remainingMs?: number
  /** Bytes the machine lacks to keep it; above 0: degraded. */
  readonly missingBytes: number
}

/**
 * @param obtainable bytes that Mesh could have now: available ones and those it holds
 * @param wasDegraded a machine counts as degraded when even the part without the buffer is gone, and until all is back:
 * what comes and goes within the buffer changes nothing
 */
export const standingOf = (
  newest: ResourceLock | undefined,
  now: ClockReading,
  { obtainable, wasDegraded }: { readonly obtainable: number; readonly wasDegraded: boolean },
): Standing => {
  const present = held(newest, now)
  if (present === undefined) return { phase: 'unlocked', memoryBytes: 0, cooldownMs: 0, missingBytes: 0 }
  const { phase, memoryBytes, cooldownMs } = present.commitment
  const needed = wasDegraded ? memoryBytes : usableBytes(memoryBytes)
  const missingBytes = obtainable < needed ? memoryBytes - obtainable : 0
  return {
    phase: phase === 'cooling' ? 'cooling' : 'locked',
    memoryBytes,
    cooldownMs,
    missingBytes,
    ...(phase === 'cooling' ? { remainingMs: remainingOf(present, now) } : {}),
  }
}
