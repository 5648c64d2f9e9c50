import assert from 'node:assert/strict'
import { test } from 'node:test'
import { standingsOf } from './standing.ts'

const grace = { graceMs: 100, graceShare: 50_000 }
const sums = [
  { deviceId: 'a', earned: 400, used: 10, recentlyEarned: 300, recentlyUsed: 10 },
  { deviceId: 'b', earned: 100, used: 90, recentlyEarned: 100, recentlyUsed: 30 },
]

test('standing: sums and shares of each member, in the given order', () => {
  const members = [
    { deviceId: 'b', since: 0 },
    { deviceId: 'a', since: 0 },
    { deviceId: 'c', since: 950 },
  ]
  assert.deepEqual(standingsOf(members, sums, 1000, grace), [
    { ...sums[1], contributionShare: 250_000, useShare: 750_000, queueShare: 238_095 },
    { ...sums[0], contributionShare: 750_000, useShare: 250_000, queueShare: 714_286 },
    {
      deviceId: 'c',
      earned: 0,
      used: 0,
      recentlyEarned: 0,
      recentlyUsed: 0,
      contributionShare: 0,
      useShare: 0,
      queueShare: 47_619,
      newUntil: 1050,
    },
  ])
})

test('standing: newcomers are so until the end of their grace time', () => {
  const of = (now: number) => standingsOf([{ deviceId: 'a', since: 900 }], [], now, grace)[0]
  assert.deepEqual([of(999).newUntil, of(1000).newUntil], [1000, undefined])
})

test('standing: where nothing was used or earned there are no shares of it', () => {
  const [one] = standingsOf(
    [{ deviceId: 'a', since: 0 }],
    [{ ...sums[0], recentlyEarned: 0, recentlyUsed: 0 }],
    1e6,
    grace,
  )
  assert.deepEqual([one.contributionShare, one.useShare, one.queueShare], [0, 0, 1_000_000])
  assert.deepEqual(standingsOf([], [], 0, grace), [])
})
