import assert from 'node:assert/strict'
import { test } from 'node:test'
import { failureOf, lossOf } from './job-loss.ts'

const members = ['a', 'b', 'c'].map((deviceId, rank) => ({ deviceId, name: deviceId.toUpperCase(), rank }))
const times = { graceMs: 700, reportMs: 50 }
const running = (awaited?: string): { leader: string; leaderName: string; awaited?: string } => ({
  leader: 'a',
  leaderName: 'A',
  ...(awaited === undefined ? {} : { awaited }),
})
const failure = { code: 'collectiveTimeout', message: 'rank 0 did not answer', fields: { rank: 0 } }

const losses: readonly [
  name: string,
  deviceId: string,
  awaited: string | undefined,
  afterMs?: number,
  code?: string,
][] = [
  ['rank 0 may come back', 'a', undefined, 700, 'jobLost'],
  ['rank 0 once more', 'a', 'a', 700, 'jobLost'],
  ['rank 0 after another', 'a', 'b', 700, 'jobLost'],
  ['another rank is reported by rank 0', 'b', undefined, 50, 'peerLost'],
  ['a second one', 'c', 'b', 50, 'peerLost'],
  ['another rank while rank 0 is away: that is the nearer end', 'b', 'a'],
  ['a device that is not in the ring', 'd', undefined],
]
for (const [name, deviceId, awaited, afterMs, code] of losses)
  test(`job loss: ${name}`, () => {
    const loss = lossOf(deviceId, running(awaited), members, times)
    assert.deepEqual([loss?.afterMs, loss?.error.code], [afterMs, code])
  })

test('job loss: names the device and its rank', () => {
  assert.deepEqual(lossOf('c', running(), members, times)?.error.fields, {
    peer: 'C',
    rank: 2,
    problem: 'its agent went away',
  })
  assert.deepEqual(lossOf('a', running(), [], times)?.error.fields, { peer: 'A' })
})

test('job loss: a rank that gave up leaves rank 0 a second to say so, unless it is rank 0 or nobody knows why', () => {
  const loss = failureOf('b', running(), members, failure)
  assert.deepEqual([loss?.afterMs, loss?.error.message.includes('B')], [1000, true])
  assert.equal(failureOf('b', running('c'), members, failure)?.afterMs, 1000)
  assert.equal(failureOf('b', running('a'), members, failure), undefined)
  assert.equal(failureOf('a', running(), members, failure), undefined)
  assert.equal(failureOf('d', running(), members, failure), undefined)
  assert.equal(failureOf('b', running(), members, undefined), undefined)
})
