import assert from 'node:assert/strict'
import { test } from 'node:test'
import { putLast } from './put-last.ts'

test('put last: what is put again is the newest, and of too many the oldest goes', () => {
  const map = new Map<string, number>()
  for (const [index, key] of ['a', 'b', 'a', 'c'].entries()) putLast(map, key, index, 2)
  assert.deepEqual(
    [...map],
    [
      ['a', 2],
      ['c', 3],
    ],
  )
  putLast(map, 'c', 4, 2)
  assert.deepEqual(
    [...map],
    [
      ['a', 2],
      ['c', 4],
    ],
  )
})

test('put last: a map of one holds the last', () => {
  const map = new Map<number, number>()
  for (let key = 0; key < 3; key++) putLast(map, key, key, 1)
  assert.deepEqual([...map], [[2, 2]])
})
