import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Budgets } from './budgets.ts'

test('budgets: what was used comes back steadily, up to the most', () => {
  const budgets = new Budgets({ most: 10, perSecond: 2 })
  assert.equal(budgets.waitMs('a', 10, 0), 0)
  budgets.charge('a', 9, 0)
  assert.deepEqual(
    [budgets.waitMs('a', 1, 0), budgets.waitMs('a', 2, 0), budgets.waitMs('a', 2, 250), budgets.waitMs('a', 2, 500)],
    [0, 500, 250, 0],
  )
  assert.equal(budgets.waitMs('a', 11, 3600e3), 500)
  assert.equal(budgets.waitMs('b', 10, 0), 0)
  const thirds = new Budgets({ most: 1, perSecond: 3 })
  thirds.charge('a', 1, 0)
  assert.equal(thirds.waitMs('a', 1, 0), 334) // told to wait long enough
})

test('budgets: a refusal costs too, but no more than the most is owed', () => {
  const budgets = new Budgets({ most: 10, perSecond: 1 })
  for (let act = 0; act < 100; act++) budgets.charge('a', 1, 0)
  assert.equal(budgets.waitMs('a', 1, 0), 11_000)
})

test('budgets: a clock that goes back takes nothing away', () => {
  const budgets = new Budgets({ most: 10, perSecond: 1 })
  budgets.charge('a', 4, 5000)
  assert.deepEqual([budgets.waitMs('a', 6, 0), budgets.waitMs('a', 7, 0)], [0, 1000])
})

test('budgets: ten thousand senders are remembered, those that came last', () => {
  const budgets = new Budgets({ most: 1, perSecond: 1 })
  budgets.charge('first', 1, 0)
  budgets.charge('second', 1, 0)
  for (let sender = 0; sender < 9998; sender++) budgets.charge(String(sender), 1, 0)
  assert.equal(budgets.waitMs('first', 1, 0), 1000)
  budgets.charge('first', 0, 0)
  budgets.charge('another', 1, 0)
  assert.deepEqual([budgets.waitMs('first', 1, 0), budgets.waitMs('second', 1, 0)], [1000, 0])
})
