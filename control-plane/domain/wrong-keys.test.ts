import assert from 'node:assert/strict'
import { test } from 'node:test'
import { WrongKeys } from './wrong-keys.ts'

/** Tries so many wrong keys at that time. @returns the pause after each */
const tryWrong = (keys: WrongKeys, count: number, now = 0, address = 'a'): number[] =>
  Array.from({ length: count }, () => {
    keys.wrong(address, now)
    return keys.pauseMs(address, now)
  })

test('wrong keys: nine are free, then each makes the address wait twice as long, up to a minute', () => {
  const keys = new WrongKeys()
  assert.equal(keys.pauseMs('a', 0), 0)
  assert.deepEqual(
    tryWrong(keys, 9),
    Array.from({ length: 9 }, () => 0),
  )
  assert.deepEqual(tryWrong(keys, 8), [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000])
  assert.equal(keys.pauseMs('b', 0), 0)
})

test('wrong keys: a pause passes', () => {
  const keys = new WrongKeys()
  tryWrong(keys, 10, 500)
  assert.deepEqual(
    [500, 1499, 1500, 9999].map((now) => keys.pauseMs('a', now)),
    [1000, 1, 0, 0],
  )
})

test('wrong keys: a right one, or ten quiet minutes, begin anew', () => {
  const keys = new WrongKeys()
  tryWrong(keys, 12)
  keys.right('a')
  assert.equal(keys.pauseMs('a', 0), 0)
  assert.deepEqual(tryWrong(keys, 10).slice(8), [0, 1000])
  assert.deepEqual(tryWrong(keys, 1, 599_999), [2000])
  assert.deepEqual(tryWrong(keys, 1, 599_999 + 600_000), [0])
})

test('wrong keys: of many addresses the one that was quiet for longest makes room', () => {
  const keys = new WrongKeys()
  for (const address of ['old', 'new']) tryWrong(keys, 11, 0, address)
  tryWrong(keys, 1, 0, 'old')
  for (let index = 0; index < 9999; index++) keys.wrong(`x${index}`, 0)
  assert.deepEqual([keys.pauseMs('new', 0), keys.pauseMs('old', 0)], [0, 4000])
})
