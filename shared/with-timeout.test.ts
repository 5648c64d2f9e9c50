import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Later, withTimeout } from './with-timeout.ts'

/** A clock that stands still until it is told that the time is over. */
const createClock = (): { readonly later: Later; readonly waits: number[]; pass(): void } => {
  const waits: number[] = []
  const due = new Set<() => void>()
  return {
    waits,
    later: (run, ms) => {
      waits.push(ms)
      due.add(run)
      return () => void due.delete(run)
    },
    pass: () => {
      for (const run of due) run()
    },
  }
}

const tooLate = (): never => {
  throw new Error('too late')
}

test('withTimeout: gives what the work gives in time, nothing at all too', async () => {
  const clock = createClock()
  assert.equal(await withTimeout(Promise.resolve(7), 100, tooLate, clock.later), 7)
  assert.equal(await withTimeout(Promise.resolve(undefined), 100, tooLate, clock.later), undefined)
  await assert.rejects(withTimeout(Promise.reject(new Error('own')), 100, tooLate, clock.later), /own/)
  assert.deepEqual(clock.waits, [100, 100, 100])
  clock.pass() // nothing waits any more
})

test('withTimeout: gives or throws what it is told to once the time is over, however the work ends then', async () => {
  const clock = createClock()
  const work = Promise.withResolvers<number>()
  const value = withTimeout(work.promise, 50, () => 'late', clock.later)
  const failure = assert.rejects(withTimeout(work.promise, 50, tooLate, clock.later), /too late/)
  clock.pass()
  assert.equal(await value, 'late')
  await failure
  work.reject(new Error('nobody hears this'))
})

test('withTimeout: is late at once when the time was over before', async () => {
  const clock = createClock()
  const value = withTimeout(new Promise(() => {}), -5, () => 'late', clock.later)
  clock.pass()
  assert.equal(await value, 'late')
  assert.deepEqual(clock.waits, [0])
})

test('withTimeout: leaves no timer behind, and waits by the clock of the system', async () => {
  const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
  const before = timers()
  assert.equal(await withTimeout(Promise.resolve(1), 60_000, tooLate), 1)
  await assert.rejects(withTimeout(Promise.reject(new Error('own')), 60_000, tooLate), /own/)
  assert.equal(timers(), before)
  const startedAt = performance.now()
  assert.equal(await withTimeout(new Promise(() => {}), 30, () => 'late'), 'late')
  assert.ok(performance.now() - startedAt >= 29)
})
