/** What weights lose when they are quantised. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type BlockFormat, dequantize, quantize } from './quantize.ts'

/** Scales below the smallest f16 become zero or lose digits: that may cost so much on 127 steps. */
const tiny = 127 * 2 ** -24

test('quantize: the error stays within half a step of the block, padding is zero', () => {
  const formats = [
    { bits: 4, block: 32 },
    { bits: 8, block: 32 },
    { bits: 4, block: 128 },
    { bits: 8, block: 128 },
  ] as const
  fc.assert(
    fc.property(
      fc.constantFrom<BlockFormat>(...formats),
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.float({ min: -100, max: 100, noNaN: true }), { minLength: 1, maxLength: 300 }),
      (format, rows, row) => {
        const values = Float32Array.from(Array.from({ length: rows }, () => row).flat())
        const quantized = quantize(values, rows, row.length, format)
        const back = dequantize(quantized, rows, row.length, format)
        const blocks = Math.ceil(row.length / format.block)
        for (let i = 0; i < values.length; i++) {
          const block = Math.floor((i % row.length) / format.block)
          const top = Math.max(...row.slice(block * format.block, (block + 1) * format.block).map(Math.abs))
          const scale = Math.abs(quantized.scales[Math.floor(i / row.length) * blocks + block])
          // 4 bits reach 7 steps on one side and 8 on the other, and the scale may be chosen 12 % smaller
          const bound = format.bits === 8 ? scale * 0.51 + top * 1e-3 + tiny : scale * 0.51 + top * 0.25 + tiny
          assert.ok(Math.abs(back[i] - values[i]) <= bound, `${values[i]} became ${back[i]}, scale ${scale}`)
        }
      },
    ),
    { numRuns: 200 },
  )
})

test('quantize: a slice at whole blocks has the codes of the whole', () => {
  const columns = 160
  const rows = 3
  const values = Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i * 1.7) * (1 + (i % 13)))
  for (const bits of [4, 8] as const) {
    const whole = quantize(values, rows, columns, { bits, block: 32 })
    const part = quantize(
      Float32Array.from({ length: rows * 64 }, (_, i) => values[Math.floor(i / 64) * columns + 32 + (i % 64)]),
      rows,
      64,
      { bits, block: 32 },
    )
    for (let row = 0; row < rows; row++)
      assert.deepEqual(part.scales.slice(row * 2, row * 2 + 2), whole.scales.slice(row * 5 + 1, row * 5 + 3))
  }
})

test('quantize: the 4-bit search has less error than the plain rule', () => {
  const values = Float32Array.from(
    { length: 32 * 400 },
    (_, i) => Math.sin(i * 12.9898) + Math.sin(i * 78.233) + Math.sin(i * 3.1),
  ) // roughly normal
  const error = (scaleOf: (block: Float32Array) => number): number => {
    let sum = 0
    for (let at = 0; at < values.length; at += 32) {
      const block = values.subarray(at, at + 32)
      const scale = scaleOf(block)
      for (const value of block) sum += (value - scale * Math.max(-8, Math.min(7, Math.round(value / scale)))) ** 2
    }
    return sum
  }
  const plain = error((block) => block.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0) / -8)
  const back = dequantize(quantize(values, 400, 32, { bits: 4, block: 32 }), 400, 32, { bits: 4, block: 32 })
  const ours = values.reduce((sum, value, i) => sum + (value - back[i]) ** 2, 0)
  assert.ok(ours < plain * 0.97, `${ours} against ${plain}`)
})
