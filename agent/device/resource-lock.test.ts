import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { MeshError } from '../../shared/errors.ts'
import type { ClockReading } from './elapsed.ts'
import { lock, release, remainingOf, type ResourceLock, standingOf, unlock } from './resource-lock.ts'

const hour = 3600e3
const GB = 1e9
const at = (hours: number): ClockReading => ({ bootId: 'a', uptimeMs: hours * hour, wallMs: 1.8e12 + hours * hour })
const plenty = { obtainable: 64 * GB, wasDegraded: false }
const seven = (hours = 0): ResourceLock => lock(undefined, { memoryBytes: 7 * GB }, at(hours))
const code =
  (wanted: string, text = /(?:)/) =>
  (error: unknown): boolean =>
    error instanceof MeshError && error.code === wanted && text.test(error.message)

test('lock: a fresh one is committed for a day after it is unlocked', () => {
  const { commitment } = seven()
  assert.deepEqual(
    { ...commitment, at: 0 },
    { sequence: 1, phase: 'locked', memoryBytes: 7 * GB, cooldownMs: 24 * hour, at: 0 },
  )
})

test('lock: repeating it changes nothing; more memory or a longer cooldown is a new statement', () => {
  const first = seven()
  assert.equal(lock(first, { memoryBytes: 7 * GB }, at(1)), first)
  assert.deepEqual(lock(first, { memoryBytes: 8 * GB }, at(1)).commitment.sequence, 2)
  const longer = lock(first, { memoryBytes: 7 * GB, cooldownMs: 48 * hour }, at(1))
  assert.equal(lock(longer, { memoryBytes: 9 * GB }, at(2)).commitment.cooldownMs, 48 * hour)
})

test('lock: it never shrinks, and its cooldown does not either', () => {
  assert.throws(
    () => lock(seven(), { memoryBytes: 6 * GB }, at(1)),
    code('lockShrinks', /7 GB are locked with a cooldown of 24 h:/),
  )
  assert.throws(() => lock(seven(), { memoryBytes: 7 * GB, cooldownMs: 0 }, at(1)), code('lockShrinks'))
})

test('unlock: starts the cooldown once; until it ends less is refused with the time', () => {
  const cooling = unlock(seven(), at(1))
  assert.equal(cooling.commitment.phase, 'cooling')
  assert.equal(cooling.commitment.memoryBytes, 7 * GB)
  assert.equal(unlock(cooling, at(5)), cooling) // asked again: the clock does not start anew
  assert.equal(remainingOf(cooling, at(5)), 20 * hour)
  assert.throws(
    () => lock(cooling, { memoryBytes: 1 * GB }, at(5)),
    code('lockCooling', /7 GB stay locked until about 2027-01-16 09:00 UTC \(20 h left/),
  )
  assert.throws(() => lock(cooling, { memoryBytes: 1 * GB }, at(24.999)), code('lockCooling'))
  assert.deepEqual(lock(cooling, { memoryBytes: 1 * GB }, at(25)).commitment, {
    ...lock(cooling, { memoryBytes: 1 * GB }, at(25)).commitment,
    phase: 'locked',
    memoryBytes: GB,
    sequence: 3,
  })
})

test('unlock: locking as much again during the cooldown ends it', () => {
  const again = lock(unlock(seven(), at(1)), { memoryBytes: 7 * GB }, at(2))
  assert.deepEqual([again.commitment.phase, again.commitment.sequence, again.countdown], ['locked', 3, undefined])
})

test('unlock: without a lock there is nothing to unlock, before, and after the cooldown', () => {
  assert.throws(() => unlock(undefined, at(0)), code('notLocked'))
  assert.throws(() => unlock(unlock(seven(), at(0)), at(25)), code('notLocked'))
})

test('unlock: a cooldown of nothing frees at once', () => {
  const freed = unlock(lock(undefined, { memoryBytes: GB, cooldownMs: 0 }, at(0)), at(0))
  assert.deepEqual([freed.commitment.phase, freed.commitment.memoryBytes], ['released', 0])
})

test('release: only a cooldown that ended, and once', () => {
  const cooling = unlock(seven(), at(0))
  assert.equal(release(undefined, at(0)), undefined)
  assert.equal(release(seven(), at(99)), undefined)
  assert.equal(release(cooling, at(23.99)), undefined)
  const freed = release(cooling, at(24))
  assert.deepEqual([freed?.commitment.phase, freed?.commitment.sequence], ['released', 3])
  assert.equal(release(freed, at(99)), undefined)
})

test('standing: degraded when even the part without the buffer is gone, until all of it is back', () => {
  const look = (obtainable: number, wasDegraded: boolean): number =>
    standingOf(seven(), at(0), { obtainable: obtainable * GB, wasDegraded }).missingBytes / GB
  assert.deepEqual(
    [look(7, false), look(6.6, false), look(6.5, false), look(6.9, true), look(7, true)].map((value) =>
      Number(value.toFixed(3)),
    ),
    [0, 0, 0.5, 0.1, 0],
  )
  assert.equal(standingOf(undefined, at(0), { obtainable: 0, wasDegraded: true }).missingBytes, 0)
  assert.equal(standingOf(unlock(seven(), at(0)), at(25), plenty).phase, 'unlocked')
})

test('lock: whatever is asked in whatever order, what is committed never falls before a whole cooldown after unlocking', () => {
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('lock' as const),
      memoryBytes: fc.integer({ min: 1, max: 10 }).map((n) => n * GB),
      cooldownMs: fc.option(
        fc.integer({ min: 0, max: 30 }).map((n) => n * hour),
        { nil: undefined },
      ),
    }),
    fc.record({ kind: fc.constant('unlock' as const) }),
    fc.record({ kind: fc.constant('wait' as const), hours: fc.integer({ min: 0, max: 20 }) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      let present: ResourceLock | undefined
      let hours = 0
      let unlockedAt: number | undefined
      for (const one of steps) {
        const before = standingOf(present, at(hours), plenty)
        const sequence = present?.commitment.sequence ?? 0
        if (one.kind === 'wait') hours += one.hours
        else {
          try {
            present = one.kind === 'lock' ? lock(present, one, at(hours)) : unlock(present, at(hours))
          } catch (error) {
            assert.ok(error instanceof MeshError && ['lockShrinks', 'lockCooling', 'notLocked'].includes(error.code))
          }
          if (present?.commitment.phase === 'cooling' && before.phase === 'locked') unlockedAt = hours
          assert.ok((present?.commitment.sequence ?? 0) - sequence <= 1)
        }
        const after = standingOf(present, at(hours), plenty)
        if (after.memoryBytes < before.memoryBytes || after.cooldownMs < before.cooldownMs) {
          assert.ok(
            before.cooldownMs === 0 || (unlockedAt !== undefined && (hours - unlockedAt) * hour >= before.cooldownMs),
            `${before.memoryBytes} became ${after.memoryBytes}`,
          )
        }
      }
    }),
    { numRuns: 500 },
  )
})
