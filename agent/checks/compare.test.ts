/** Single checks without a thread: what honest ranks are off by, and what a rank that lies is off by. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { sizeOf } from '../../shared/plan/shard-plan.ts'
import { wireTypes } from '../collective/wire-types.ts'
import { quantize } from '../model/quantize.ts'
import { tolerances } from './compare.ts'
import { closeCalls, roundActivations, roundToEven, turnedOver } from './rounding.ts'
import { noise } from './test/checked-ring.ts'
import { type HonestCase, honestCases, measureRing } from './test/measure.ts'

/** The rest is for `bench/spot-checks.ts`, which measures a hundred times as many. */
const checksPerKind = 120
const quickCases = honestCases.filter(
  ({ bundled, kinds, quant }) => !bundled || (quant === 'q4' && new Set(kinds).size > 1),
)

for (const one of quickCases)
  test(`checks of honest ranks: ${one.name}: all far below the tolerance`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'mesh-compare-'))
    try {
      for (let seed = 1; seed <= (one.bundled ? 1 : 3); seed++) {
        const { errors } = await measureRing(one, { folder, seed, checks: checksPerKind })
        assert.ok(errors.length >= checksPerKind)
        assert.ok(Math.max(...errors) < tolerances[one.quant] * 0.8, `${Math.max(...errors)}`)
      }
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })

test('checks of ranks that are wrong by 1 % of the norm: every one of them is far above the tolerance, over any wire type', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-compare-'))
  try {
    for (const wire of wireTypes)
      for (const one of honestCases.filter(({ quant, bundled }) => quant !== 'q8' && !bundled)) {
        const lying: HonestCase = { ...one, wire }
        const { errors } = await measureRing(lying, { folder, seed: 3, checks: 60, lie: noise(0.01, Math.random) })
        assert.ok(Math.min(...errors) > tolerances[one.quant] * 1.5, `${one.name} over ${wire}: ${Math.min(...errors)}`)
      }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

test('rounding: to the nearest, ties to even', () => {
  for (const [value, want] of [
    [0.5, 0],
    [1.5, 2],
    [2.5, 2],
    [-0.5, 0],
    [-1.5, -2],
    [0.49, 0],
    [0.51, 1],
    [-3.2, -3],
  ] as const)
    assert.equal(roundToEven(value) + 0, want)
})

test('rounding: codes and scales stand for the values, to half a step; close calls are those near a half', () => {
  const values = fc.array(fc.float({ min: -100, max: 100, noNaN: true }), { minLength: 64, maxLength: 64 })
  fc.assert(
    fc.property(values, fc.constantFrom('ggml' as const, 'onnx' as const), (list, kind) => {
      const { codes, scales } = roundActivations(Float32Array.from(list), 32, kind)
      // ggml's scales are f16, whose smallest steps are 2^-24: each of the 127 codes may be off by half of one
      const least = kind === 'ggml' ? 127 * 2 ** -25 : 1e-36
      for (const [i, value] of list.entries()) {
        const step = scales[i >> 5]
        assert.ok(Math.abs(codes[i] * step - value) <= step * 0.57 + least, `${codes[i]} * ${step}, ${value}`)
      }
    }),
  )
  const near = new Float32Array(32).fill(1)
  near[0] = 127
  near[1] = 2.5001
  near[2] = -3.4999
  near[3] = 2.51
  const rounded = roundActivations(near, 32, 'onnx')
  assert.deepEqual(closeCalls(rounded), [1, 2])
  assert.deepEqual([...rounded.codes.subarray(0, 4)], [127, 3, -3, 3])
  assert.deepEqual([...turnedOver(rounded, 1).codes.subarray(0, 4)], [127, 2, -3, 3])
  assert.deepEqual([...turnedOver(rounded, 2).codes.subarray(0, 4)], [127, 3, -4, 3])
})

test('rounding: a block of zeros stays zero, and quantised weights of it too', () => {
  const { codes, scales } = roundActivations(new Float32Array(32), 32, 'ggml')
  assert.ok(codes.every((code) => code === 0) && scales[0] === 0)
  assert.equal(sizeOf({ start: 2, end: 5 }), 3)
  assert.ok(quantize(new Float32Array(32), 1, 32, { bits: 8, block: 32 }).scales[0] === 0)
})
