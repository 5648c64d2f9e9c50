import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { WeightType } from './architecture/tensor-roles.ts'
import { decodeBlocks, weightFormats } from './blocks/formats.ts'
import { ggmlQuantize } from './blocks/test/ggml-blocks.ts'
import { storedTensor } from './stored-tensors.ts'
import type { TensorInfo } from './tensor-file.ts'
import { readColumnBytes, readColumns, readRowBytes, readRows } from './tensor-slice.ts'

const rows = 12
const columns = 1024
const values = Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i * i))

/** A tensor in memory, somewhere in a file. */
const tensorOf = (type: WeightType, dims: readonly number[]): { tensor: TensorInfo; bytes: Uint8Array } => {
  const bytes = ggmlQuantize(type, values, columns)
  const start = 7
  const tensor: TensorInfo = {
    name: 'some.weight',
    dtype: type,
    dims,
    start,
    end: start + bytes.length,
    file: {
      path: 'some.gguf',
      read: (into, position) => {
        assert.ok(position >= start && position + into.length <= start + bytes.length, 'reads of its own bytes alone')
        into.set(bytes.subarray(position - start, position - start + into.length))
      },
    },
  }
  return { tensor, bytes }
}

const cut = (whole: Float32Array, from: readonly [number, number], to: readonly [number, number]): Float32Array =>
  Float32Array.from(
    Array.from({ length: to[0] - from[0] }, (_, row) => [
      ...whole.subarray((from[0] + row) * columns + from[1], (from[0] + row) * columns + to[1]),
    ]).flat(),
  )

for (const type of Object.keys(weightFormats) as WeightType[]) {
  test(`${type}: rows and columns are those of the whole tensor, as values and as bytes`, () => {
    const { tensor, bytes } = tensorOf(type, [rows, columns])
    const whole = decodeBlocks(type, bytes)
    assert.deepEqual(readRows(tensor, 0, rows), whole)
    assert.deepEqual(readRows(tensor, 3, 5), cut(whole, [3, 0], [5, columns]))
    assert.deepEqual(readRows(tensor, 4, 4), new Float32Array(0))
    assert.deepEqual(
      readColumns(tensor, { start: 100, end: 301 }, { start: 2, end: 12 }),
      cut(whole, [2, 100], [12, 301]),
    )
    assert.deepEqual(decodeBlocks(type, readRowBytes(tensor, 3, 5)), cut(whole, [3, 0], [5, columns]))
    const some = readColumnBytes(tensor, { start: 256, end: 768 }, { start: 1, end: 11 })
    assert.deepEqual(decodeBlocks(type, some), cut(whole, [1, 256], [11, 768]))
    if (weightFormats[type].values > 1)
      assert.throws(() => readColumnBytes(tensor, { start: 16, end: 256 }, { start: 0, end: 1 }), /cut blocks of/)
    assert.throws(() => readRows(tensor, 3, rows + 1), RangeError)
    assert.throws(() => readColumns(tensor, { start: 0, end: columns + 1 }, { start: 0, end: 1 }), RangeError)
  })
}

test('a stack of experts is one matrix: rows of expert 0, then of expert 1', () => {
  const { tensor, bytes } = tensorOf('Q4_K', [3, 4, columns])
  assert.deepEqual(readRows(tensor, 5, 9), cut(decodeBlocks('Q4_K', bytes), [5, 0], [9, columns]))
})

test('a vector has one row per element, whatever its type', () => {
  const { tensor, bytes } = tensorOf('Q8_0', [rows * columns])
  assert.deepEqual(readRows(tensor, 45, 4000), decodeBlocks('Q8_0', bytes).slice(45, 4000))
})

test('a type that is not read is refused by name', () => {
  const { tensor } = tensorOf('F32', [rows, columns])
  assert.throws(() => readRows({ ...tensor, dtype: 'IQ2_XS' }, 0, 1), { code: 'dtypeUnsupported', message: /IQ2_XS/ })
})

test('stored tensors give rows as values and bytes; a vector is one row', () => {
  const { tensor, bytes } = tensorOf('Q5_K', [3, 4, columns])
  const stored = storedTensor(tensor)
  assert.deepEqual([stored.name, stored.type, stored.dims], ['some.weight', 'Q5_K', [3, 4, columns]])
  assert.deepEqual(stored.readRows(5, 7), readRows(tensor, 5, 7))
  assert.deepEqual(stored.readBytes(0, 12), bytes)
  const vector = storedTensor(tensorOf('F32', [rows * columns]).tensor)
  assert.deepEqual(vector.readRows(0, 1), values)
  assert.throws(() => vector.readRows(0, 2), RangeError)
  assert.throws(() => storedTensor({ ...tensor, dtype: 'I8' }), { code: 'dtypeUnsupported' })
})
