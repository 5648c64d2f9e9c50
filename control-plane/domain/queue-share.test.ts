import assert from 'node:assert/strict'
import { test } from 'node:test'
import { contributionShares, type Contributor, queueWeights, wholeShare } from './queue-share.ts'

const grace = { graceMs: 100, graceShare: 50_000 }
const member = (deviceId: string, earned: number, since = 0): Contributor => ({ deviceId, earned, since })
const weights = (members: Contributor[], now: number): [string, number][] => [...queueWeights(members, now, grace)]

test('queue share: parts per million of what all earned, and nothing where nobody earned', () => {
  assert.deepEqual(
    [...contributionShares([member('a', 1), member('b', 3)])],
    [
      ['a', 250_000],
      ['b', 750_000],
    ],
  )
  assert.deepEqual(
    [...contributionShares([member('a', 0), member('b', 0)])],
    [
      ['a', 0],
      ['b', 0],
    ],
  )
  const thirds = [...contributionShares([member('a', 1), member('b', 1), member('c', 1)]).values()]
  assert.equal(
    thirds.reduce((sum, share) => sum + share, 0),
    wholeShare,
  )
})

test('queue share: equal as long as nobody earned anything', () => {
  assert.deepEqual(weights([member('a', 0), member('b', 0), member('c', 0, 999)], 1000), [
    ['a', 333_334],
    ['b', 333_334],
    ['c', 333_334],
  ])
})

test('queue share: a newcomer gets 5 % for its grace time, whoever gives nothing 0.1 %', () => {
  const members = [member('works', 99), member('rests', 0), member('came', 0, 901), member('new and works', 1, 950)]
  assert.deepEqual(weights(members, 1000), [
    ['works', 990_000],
    ['rests', 1000],
    ['came', 50_000],
    ['new and works', 50_000],
  ])
  assert.deepEqual(weights(members, 1001).slice(2), [
    ['came', 1000],
    ['new and works', 50_000],
  ])
  assert.deepEqual(weights([member('works', 1, 990), member('rests', 0)], 1000), [
    ['works', 1_000_000],
    ['rests', 1000],
  ])
})
