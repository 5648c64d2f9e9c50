/** Direct exchange, recursive doubling and the chooser keep the contract of collectives. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { choose, collectiveChoices, createCollective, predict } from './chooser.ts'
import { checkAllReduce, checkCollective } from './contract.ts'
import { createMemoryChannels } from './memory-channel.ts'

for (const choice of collectiveChoices) {
  for (const worldSize of [1, 2, 3, 4, 5, 6, 7, 8]) {
    test(`${choice} of ${worldSize}: keeps the contract of collectives`, async () => {
      const ranks = createMemoryChannels(worldSize).map((channel) => createCollective(channel, choice))
      await checkCollective(ranks)
      await checkAllReduce(ranks, 100_000)
    })
  }
  test(`${choice}: a silent rank is named when the step deadline passes`, async () => {
    const [first] = createMemoryChannels(2, 50).map((channel) => createCollective(channel, choice))
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
