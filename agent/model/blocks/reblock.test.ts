import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeBlocks, firstBadScale, weightFormats } from './formats.ts'
import { isReblocked, reblock, reblockedTypes, type ReblockedType } from './reblock.ts'
import { ggmlQuantize } from './test/ggml-blocks.ts'

/** Numbers of a normal distribution. */
const normal = (count: number): Float32Array => {
  let state = 9
  const uniform = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0
    return ((state >>> 0) + 0.5) / 2 ** 32
  }
  return Float32Array.from(
    { length: count },
    () => 0.02 * Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()),
  )
}

const rms = (values: Float32Array): number =>
  Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length)
/** Root of the mean squared difference, as a part of that of the values. */
const errorOf = (got: Float32Array, want: Float32Array): number =>
  rms(want.map((value, index) => value - got[index])) / rms(want)

const weights = normal(64 * 1024)
/** Error that re-blocking adds, as a part of the size of the weights: measured, with a little room. */
const bounds: Readonly<Record<ReblockedType, readonly [least: number, most: number]>> = {
  Q4_K: [0.0003, 0.0007],
  Q5_K: [0.0003, 0.0007],
  IQ4_XS: [0.0001, 0.0004],
  Q2_K: [0.003, 0.006],
  Q3_K: [0.003, 0.006],
  Q6_K: [0.003, 0.006],
}

for (const [type, [least, most]] of Object.entries(bounds) as [ReblockedType, readonly [number, number]][]) {
  const finer = reblockedTypes[type]
  test(`${type} as ${finer}: the same values but for ${most * 100} % of the weights' size`, (t) => {
    const blocks = ggmlQuantize(type, weights, 1024)
    const whole = decodeBlocks(type, blocks)
    const again = reblock(type, blocks)
    assert.equal(again.length, (weights.length / 32) * weightFormats[finer].bytes)
    const added = errorOf(decodeBlocks(finer, again), whole)
    t.diagnostic(
      `${type}: ${(errorOf(whole, weights) * 100).toFixed(3)} %, as ${finer} ${(added * 100).toFixed(3)} % more`,
    )
    assert.ok(added >= least && added <= most, `${added}`)
    // what is left against the weights is what the file lost already
    const total = errorOf(decodeBlocks(finer, again), weights)
    assert.ok(total <= Math.hypot(errorOf(whole, weights), added) * 1.01, `${total}`)
  })
}

test('through values, blocks are those that ggml makes of the same values', () => {
  for (const type of ['Q2_K', 'Q3_K', 'Q6_K'] as const) {
    const blocks = ggmlQuantize(type, weights, 1024)
    assert.deepEqual(reblock(type, blocks), ggmlQuantize('Q8_0', decodeBlocks(type, blocks), 1024))
  }
})

test('blocks of zeros stay zeros, and only blocks of 256 are made finer', () => {
  for (const type of Object.keys(reblockedTypes) as ReblockedType[]) {
    const zeros = ggmlQuantize(type, new Float32Array(512), 512)
    assert.ok(decodeBlocks(reblockedTypes[type], reblock(type, zeros)).every((value) => value === 0))
  }
  assert.deepEqual(
    Object.entries(weightFormats)
      .filter(([name]) => isReblocked(name as never))
      .map(([, { values }]) => values),
    Array(6).fill(256),
  )
})

test('a scale that no f16 holds is found in the finer blocks', () => {
  const blocks = ggmlQuantize(
    'Q4_K',
    Float32Array.from({ length: 512 }, (_, i) => i),
    512,
  )
  blocks.set([0xff, 0x7b], 144) // d of the second block: 65504
  assert.ok(firstBadScale('Q4_1', reblock('Q4_K', blocks)) >= 8)
})
