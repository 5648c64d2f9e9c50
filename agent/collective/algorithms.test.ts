/** Direct exchange, recursive doubling and the chooser keep the contract of collectives. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Channel } from './channel.ts'
import { choose, type CollectiveChoice, collectiveChoices, createCollective, predict } from './chooser.ts'
import type { Collective } from './collective.ts'
import { checkAllReduce, checkCollective, testData } from './contract.ts'
import type { WireType } from './floats.ts'
import { createMemoryChannels } from './memory-channel.ts'

const adjusted = (channel: Channel, algorithm: CollectiveChoice, wire: WireType = 'f32'): Collective => {
  const collective = createCollective(channel)
  collective.use({ algorithm, wire })
  return collective
}

for (const choice of collectiveChoices) {
  for (const worldSize of [1, 2, 3, 4, 5, 6, 7, 8]) {
    test(`${choice} of ${worldSize}: keeps the contract of collectives`, async () => {
      const ranks = createMemoryChannels(worldSize).map((channel) => adjusted(channel, choice))
      await checkCollective(ranks)
      await checkAllReduce(ranks, 100_000)
    })
  }
  test(`${choice}: a silent rank is named when the step deadline passes`, async () => {
    const [first] = createMemoryChannels(2, 50).map((channel) => adjusted(channel, choice))
    await assert.rejects(first.allReduce(new Float32Array(4), { job: 1, step: 0, operation: 0 }), { code: 'collectiveTimeout' })
  })
}

test('chooser: takes the least predicted time', () => {
  fc.assert(fc.property(fc.integer({ min: 2, max: 64 }), fc.integer({ min: 0, max: 1e8 }), fc.double({ min: 1e-5, max: 0.2, noNaN: true }), fc.double({ min: 1e-10, max: 1e-6, noNaN: true }), (worldSize, bytes, alpha, beta) => {
    const best = predict(choose(worldSize, bytes, { alpha, beta }), worldSize, bytes, { alpha, beta })
    for (const other of ['ring', 'direct', 'recursive-doubling'] as const) assert.ok(best <= predict(other, worldSize, bytes, { alpha, beta }))
  }))
})

test('chooser: decode-sized messages go directly, prefill-sized ones around the ring', () => {
  const wide = { alpha: 0.01, beta: 1 / 100e6 }
  assert.equal(choose(4, 8192, wide), 'direct')
  assert.equal(choose(4, 64e6, wide), 'ring')
})

test('f16 on the wire: identical bits on all ranks, off by 2^-11 of each part at most', async () => {
  for (const worldSize of [2, 3, 5]) {
    const ranks = createMemoryChannels(worldSize).map((channel) => adjusted(channel, 'direct', 'f16'))
    const inputs = ranks.map(({ rank }) => testData(1001, rank))
    const data = inputs.map((input) => Float32Array.from(input))
    await Promise.all(ranks.map((collective, rank) => collective.allReduce(data[rank], { job: 1, step: 0, operation: 0 })))
    for (const result of data) assert.deepEqual(result, data[0])
    for (let i = 0; i < 1001; i++) {
      const exact = inputs.reduce((sum, input) => sum + input[i], 0)
      const size = inputs.reduce((sum, input) => sum + Math.abs(input[i]), 0)
      assert.ok(Math.abs(data[0][i] - exact) <= size * 2 ** -11 + 1e-6, `${data[0][i]}, want ${exact}`)
    }
  }
})
