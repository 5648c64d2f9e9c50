/** What the chooser reckons with: the alpha-beta model, by hand. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { algorithmFor, assumedFigures, choose, costOf, predict, slowestOf } from './chooser.ts'

const link = { alpha: 1, beta: 1 / 1000 }

test('chooser: seconds of each algorithm, where a hop takes one and a thousand bytes another', () => {
  for (const [algorithm, worldSize, bytes, seconds] of [
    ['ring', 2, 4000, 2 * 1 + 4],
    ['ring', 4, 4000, 2 * 3 + (2 * 3 * 4) / 4],
    ['direct', 2, 4000, 1 + 4],
    ['direct', 4, 4000, 1 + 3 * 4],
    ['recursive-doubling', 4, 4000, 2 * (1 + 4)],
    ['recursive-doubling', 5, 4000, (2 + 2) * (1 + 4)],
    ['recursive-doubling', 7, 4000, (2 + 2) * (1 + 4)],
    ['recursive-doubling', 8, 4000, 3 * (1 + 4)],
  ] as const)
    assert.ok(
      Math.abs(predict(algorithm, worldSize, bytes, link) - seconds) < 1e-9,
      `${algorithm} of ${worldSize}: ${predict(algorithm, worldSize, bytes, link)} s, not ${seconds}`,
    )
  for (const algorithm of ['ring', 'direct', 'recursive-doubling'] as const)
    assert.equal(predict(algorithm, 1, 4000, link), 0)
})

test('chooser: of what travels the bytes count: recursive doubling sends f32 whatever is asked for', () => {
  const half = { ...link, wire: 'f16' as const }
  assert.ok(Math.abs(predict('direct', 2, 4000, half) - (1 + 2)) < 1e-9)
  assert.ok(Math.abs(predict('ring', 2, 4000, half) - (2 + 2)) < 1e-9)
  assert.ok(Math.abs(predict('recursive-doubling', 2, 4000, half) - (1 + 4)) < 1e-9)
})

test('chooser: on a tie the one of fewer hops; what was asked for comes before what is reckoned', () => {
  assert.equal(choose(2, 4000, link), 'direct') // as long as recursive doubling
  assert.equal(choose(1, 4000, link), 'direct')
  assert.equal(algorithmFor({ algorithm: 'ring', wire: 'f32', link }, 2, 4000), 'ring')
  assert.equal(algorithmFor({ algorithm: 'auto', wire: 'f32', link }, 8, 4), 'direct')
  assert.equal(algorithmFor({ algorithm: 'auto', wire: 'f32', link }, 8, 4e6), 'ring')
})

test('chooser: what a link costs, and which of several counts', () => {
  const cost = costOf({ roundTripMs: 20, bytesPerSecond: 1e6 })
  assert.deepEqual(cost, { alpha: 0.01, beta: 1e-6 })
  const links = [
    { roundTripMs: 5, bytesPerSecond: 1e6 },
    { roundTripMs: 20, bytesPerSecond: 9e6 },
  ]
  assert.deepEqual(slowestOf(links), { roundTripMs: 20, bytesPerSecond: 1e6 })
  assert.deepEqual(slowestOf([]), assumedFigures)
})
