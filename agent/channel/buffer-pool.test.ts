import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BufferPool } from './buffer-pool.ts'

test('a buffer that was given back is used again, for its own length only', () => {
  const pool = new BufferPool()
  const large = pool.take(100_000)
  pool.give(large)
  assert.notEqual(pool.take(100_001), large)
  assert.equal(pool.take(100_000), large)
  assert.notEqual(pool.take(100_000), large, 'it is out')
})

test('small buffers and views are not kept, and no more than a few megabytes', () => {
  const pool = new BufferPool()
  const small = pool.take(100)
  pool.give(small)
  assert.notEqual(pool.take(100), small)
  const view = new Uint8Array(200_000).subarray(100_000)
  pool.give(view)
  assert.notEqual(pool.take(100_000), view)
  const many = Array.from({ length: 20 }, () => pool.take(1_000_000))
  for (const one of many) pool.give(one)
  const again = new Set(Array.from({ length: 20 }, () => pool.take(1_000_000)))
  assert.equal(many.filter((one) => again.has(one)).length, 8)
})

test('16 KiB are worth keeping, and 8 MiB in all; beyond that the oldest goes', () => {
  const pool = new BufferPool()
  const least = pool.take(16 * 1024)
  pool.give(least)
  assert.equal(pool.take(16 * 1024), least)
  const mebibytes = Array.from({ length: 8 }, () => pool.take(2 ** 20))
  for (const one of mebibytes) pool.give(one)
  pool.give(least)
  const again = Array.from({ length: 8 }, () => pool.take(2 ** 20))
  assert.deepEqual(
    mebibytes.map((one) => again.includes(one)),
    [false, true, true, true, true, true, true, true],
  )
  assert.equal(pool.take(16 * 1024), least)
  const whole = pool.take(8 * 2 ** 20)
  pool.give(whole)
  assert.equal(pool.take(8 * 2 ** 20), whole)
})
