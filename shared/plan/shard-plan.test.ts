import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { ModelShape } from '../schema/model.ts'
import { apportion, fractionOf, heldWeights, planShards, sizeOf, weightsOf } from './shard-plan.ts'

const shapes: fc.Arbitrary<ModelShape> = fc
  .record({
    kvHeads: fc.integer({ min: 1, max: 16 }),
    group: fc.integer({ min: 1, max: 8 }),
    ffn: fc.integer({ min: 1, max: 2000 }),
    vocab: fc.integer({ min: 1, max: 5000 }),
    hidden: fc.integer({ min: 8, max: 512 }),
  })
  .map(({ group, ...rest }) => ({ ...rest, heads: rest.kvHeads * group, headDim: 32, layers: 4, context: 512 }))
const shares = fc.array(fc.double({ min: 0.01, max: 10, noNaN: true }), { minLength: 1, maxLength: 20 })

const tinyStory: ModelShape = {
  layers: 8,
  hidden: 256,
  heads: 8,
  kvHeads: 4,
  headDim: 32,
  ffn: 704,
  vocab: 2048,
  context: 512,
}

test('plan: ranges cover heads, MLP columns and vocabulary exactly once, in order of ranks', () => {
  fc.assert(
    fc.property(shapes, shares, (shape, weights) => {
      const plan = planShards(shape, weights)
      for (const [name, total] of [
        ['kvHeads', shape.kvHeads],
        ['heads', shape.heads],
        ['ffn', shape.ffn],
        ['vocab', shape.vocab],
      ] as const) {
        let at = 0
        for (const ranges of plan) {
          assert.equal(ranges[name].start, at)
          assert.ok(ranges[name].end >= at)
          at = ranges[name].end
        }
        assert.equal(at, total)
      }
      for (const { heads, kvHeads } of plan)
        assert.equal(sizeOf(heads), sizeOf(kvHeads) * (shape.heads / shape.kvHeads))
    }),
  )
})

test('plan: cuts lie at whole blocks of 32 columns', () => {
  fc.assert(
    fc.property(shapes, shares, (shape, weights) => {
      for (const { ffn, vocab } of planShards(shape, weights)) {
        for (const [range, total] of [
          [ffn, shape.ffn],
          [vocab, shape.vocab],
        ] as const) {
          for (const edge of [range.start, range.end]) assert.ok(edge % 32 === 0 || edge === total)
        }
      }
    }),
  )
})

test('plan: 704 columns for two ranks are 11 blocks each', () => {
  const plan = planShards(tinyStory, [1, 1])
  assert.deepEqual(
    plan.map(({ ffn }) => ffn),
    [
      { start: 0, end: 352 },
      { start: 352, end: 704 },
    ],
  )
  assert.deepEqual(
    plan.map(({ kvHeads }) => kvHeads),
    [
      { start: 0, end: 2 },
      { start: 2, end: 4 },
    ],
  )
})

test('plan: uneven shares in whole units', () => {
  const plan = planShards(tinyStory, [0.5, 0.25, 0.25])
  assert.deepEqual(
    plan.map(({ kvHeads }) => sizeOf(kvHeads)),
    [2, 1, 1],
  )
  assert.deepEqual(
    plan.map(({ ffn }) => sizeOf(ffn)),
    [352, 192, 160],
  )
})

test('plan: ranks beyond the key/value heads hold MLP columns only, and more of them', () => {
  const plan = planShards(tinyStory, [1, 1, 1, 1, 1, 1])
  assert.deepEqual(
    plan.map(({ kvHeads }) => sizeOf(kvHeads)),
    [1, 1, 1, 1, 0, 0],
  )
  assert.ok(sizeOf(plan[5].ffn) > sizeOf(plan[0].ffn))
  for (const own of plan)
    assert.ok(Math.abs(fractionOf(tinyStory, own) - 1 / 6) < 0.05, `${fractionOf(tinyStory, own)}`)
})

test('plan: fractions sum to one', () => {
  fc.assert(
    fc.property(shapes, shares, (shape, weights) => {
      const sum = planShards(shape, weights).reduce((total, own) => total + fractionOf(shape, own), 0)
      assert.ok(Math.abs(sum - 1) < 1e-9)
    }),
  )
})

test('plan: the weights of all ranks are those of the model, to the last one', () => {
  fc.assert(
    fc.property(shapes, shares, (shape, weights) => {
      assert.equal(
        planShards(shape, weights).reduce((total, own) => total + heldWeights(shape, own), 0),
        weightsOf(shape),
      )
    }),
  )
})

test('plan: impossible requests are refused', () => {
  for (const [shape, weights] of [
    [tinyStory, []],
    [tinyStory, [1, 0]],
    [tinyStory, [1, NaN]],
    [tinyStory, Array.from({ length: 65 }, () => 1)],
    [{ ...tinyStory, heads: 7 }, [1]],
    [{ ...tinyStory, layers: 1024, hidden: 2 ** 24, ffn: 2 ** 24 }, [1]],
  ] as const) {
    assert.throws(() => planShards(shape, weights), { code: 'planImpossible' })
  }
})

test('apportion: whole units in proportion, off by less than one', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1000 }), shares, (units, weights) => {
      const counts = apportion(units, weights)
      const total = weights.reduce((a, b) => a + b, 0)
      assert.equal(
        counts.reduce((a, b) => a + b, 0),
        units,
      )
      for (const [rank, count] of counts.entries()) assert.ok(Math.abs(count - (units * weights[rank]) / total) < 1)
    }),
  )
})
