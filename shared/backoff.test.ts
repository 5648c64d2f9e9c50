import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Backoff, backoffMs } from './backoff.ts'

test('backoff: a pause doubles with each failure in a row, up to the longest', () => {
  const times = { firstMs: 250, longestMs: 3000 }
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5].map((failures) => backoffMs(failures, times)),
    [250, 500, 1000, 2000, 3000, 3000],
  )
  assert.equal(backoffMs(1e6, times), 3000)
})

test('backoff: a success makes the next pause the first again', () => {
  const backoff = new Backoff({ firstMs: 10, longestMs: 100 })
  const pauses = Array.from({ length: 6 }, () => [backoff.nextMs, backoff.fail()])
  assert.deepEqual(
    pauses,
    [10, 20, 40, 80, 100, 100].map((ms) => [ms, ms]),
  )
  backoff.reset()
  assert.deepEqual([backoff.nextMs, backoff.nextMs, backoff.fail(), backoff.fail()], [10, 10, 10, 20])
})

test('backoff: jitter makes a pause shorter or longer by up to its part, also the longest; what is told has none', () => {
  const pauses = (random: number): number[] => {
    const backoff = new Backoff({ firstMs: 100, longestMs: 400, jitter: 0.25, random: () => random })
    return [backoff.nextMs, backoff.fail(), backoff.fail(), backoff.fail(), backoff.fail(), backoff.nextMs]
  }
  assert.deepEqual(pauses(0), [100, 75, 150, 300, 300, 400])
  assert.deepEqual(pauses(0.5), [100, 100, 200, 400, 400, 400])
  assert.deepEqual(pauses(1), [100, 125, 250, 500, 500, 400])
})

test('backoff: without a source of randomness pauses are spread over the whole range', () => {
  const times = { firstMs: 100, longestMs: 100, jitter: 0.5 }
  const pauses = Array.from({ length: 1000 }, () => backoffMs(0, times))
  assert.ok(Math.min(...pauses) >= 50 && Math.min(...pauses) < 60, String(Math.min(...pauses)))
  assert.ok(Math.max(...pauses) <= 150 && Math.max(...pauses) > 140, String(Math.max(...pauses)))
})
