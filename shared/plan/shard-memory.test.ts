import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { ModelShape, Quant } from '../schema/model.ts'
import { leastRankBytes, planWithin, rankBytes, runtimeBytes, weightBytes } from './shard-memory.ts'
import { planShards, sizeOf } from './shard-plan.ts'

const llama: ModelShape = {
  layers: 32,
  hidden: 4096,
  heads: 32,
  kvHeads: 8,
  headDim: 128,
  ffn: 14336,
  vocab: 128256,
  context: 8192,
}
const GB = 1e9

const shapes: fc.Arbitrary<ModelShape> = fc
  .record({
    kvHeads: fc.integer({ min: 1, max: 16 }),
    group: fc.integer({ min: 1, max: 4 }),
    ffn: fc.integer({ min: 32, max: 20_000 }),
    vocab: fc.integer({ min: 32, max: 50_000 }),
    hidden: fc.integer({ min: 32, max: 4096 }),
    layers: fc.integer({ min: 1, max: 40 }),
    context: fc.integer({ min: 16, max: 32768 }),
  })
  .map(({ group, ...rest }) => ({ ...rest, heads: rest.kvHeads * group, headDim: 64 }))
const quants = fc.constantFrom<Quant>('f32', 'q8', 'q4')
const rooms = fc.array(
  fc.record({ share: fc.double({ min: 0.01, max: 10, noNaN: true }), roomBytes: fc.integer({ min: 0, max: 20 * GB }) }),
  { minLength: 1, maxLength: 8 },
)

test('plan within room: never more on a rank than it has room for, and everything dealt out', () => {
  let fitted = 0
  fc.assert(
    fc.property(shapes, quants, rooms, (shape, quant, ranks) => {
      const plan = planWithin(shape, quant, ranks)
      if (!plan.fits) {
        assert.ok(plan.lacksBytes > 0 && plan.needsBytes - plan.lacksBytes <= ranks[plan.rank].roomBytes + 1)
        return
      }
      fitted++
      for (const [rank, ranges] of plan.ranges.entries()) {
        assert.ok(plan.bytes[rank] <= ranks[rank].roomBytes)
        assert.equal(plan.bytes[rank], rankBytes(shape, quant, ranges, plan.context))
      }
      assert.ok(plan.context >= Math.min(shape.context, 2048) && plan.context <= shape.context)
      for (const name of ['kvHeads', 'ffn', 'vocab'] as const)
        assert.equal(
          plan.ranges.reduce((sum, ranges) => sum + sizeOf(ranges[name]), 0),
          shape[name],
        )
    }),
    { numRuns: 500 },
  )
  assert.ok(fitted > 100, `only ${fitted} of 500 fit: the test says little`)
})

test('plan within room: where there is plenty it is the plan by shares, with the whole context', () => {
  const ranks = [
    { share: 1, roomBytes: 64 * GB },
    { share: 3, roomBytes: 64 * GB },
  ]
  const plan = planWithin(llama, 'q4', ranks)
  assert.ok(plan.fits)
  assert.deepEqual(plan.ranges, planShards(llama, [1, 3]))
  assert.equal(plan.context, llama.context)
})

test('plan within room: what does not fit on a small device goes to the others', () => {
  const plan = planWithin(llama, 'q4', [
    { share: 1, roomBytes: 1.5 * GB },
    { share: 1, roomBytes: 8 * GB },
  ])
  assert.ok(plan.fits)
  assert.ok(plan.bytes[0] <= 1.5 * GB && plan.bytes[0] > 0.8 * GB, String(plan.bytes[0]))
  assert.ok(sizeOf(plan.ranges[1].ffn) > 2 * sizeOf(plan.ranges[0].ffn))
})

test('plan within room: less context before a refusal, and the refusal says who lacks how much', () => {
  const whole = rankBytes(llama, 'q4', planShards(llama, [1])[0], llama.context)
  const shorter = planWithin(llama, 'q4', [{ share: 1, roomBytes: whole - 0.5 * GB }])
  assert.ok(shorter.fits && shorter.context < llama.context && shorter.context >= 2048)
  const refused = planWithin(llama, 'q4', [{ share: 1, roomBytes: 3 * GB }])
  assert.ok(
    !refused.fits && refused.rank === 0 && refused.lacksBytes > 1 * GB && refused.lacksBytes < 4 * GB,
    JSON.stringify(refused),
  )
})

test('bytes: an 8B model at 4 bits weighs about 5 GB; halves about half', () => {
  const [one] = planShards(llama, [1])
  assert.ok(Math.abs(weightBytes(llama, 'q4', one) / GB - 4.7) < 0.3, String(weightBytes(llama, 'q4', one)))
  const halves = planShards(llama, [1, 1]).map((ranges) => weightBytes(llama, 'q4', ranges))
  assert.ok(Math.abs(halves[0] + halves[1] - weightBytes(llama, 'q4', one)) < 0.01 * GB)
  assert.ok(leastRankBytes(llama, 'q4') > runtimeBytes)
})

test('plan within room: a share as small as numbers go is a share, also where there is little room', () => {
  const tiny = Number.MIN_VALUE
  const shares: readonly (readonly number[])[] = [[tiny, tiny], [tiny, 1000], [tiny], [1000, 1000, tiny]]
  for (const [index, some] of shares.entries()) {
    for (const roomBytes of [0, 1.5 * GB, 64 * GB])
      planWithin(
        llama,
        'q4',
        some.map((share) => ({ share, roomBytes })),
      )
    const plan = planWithin(
      llama,
      'q4',
      some.map((share) => ({ share, roomBytes: 64 * GB })),
    )
    assert.ok(plan.fits, String(index))
  }
})
