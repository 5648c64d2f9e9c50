import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { WeightType } from '../architecture/tensor-roles.ts'
import { ggufTensorType } from '../gguf/tensor-types.ts'
import { decodeBlocks, firstBadScale, weightFormats } from './formats.ts'
import { ggmlDecode, ggmlQuantize, ggmlTraits } from './test/ggml-blocks.ts'

const types = Object.keys(weightFormats) as WeightType[]

/** mulberry32 */
const random = (seed: number): (() => number) => {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Blocks of any bits, but for scales that are no numbers. */
const anyBlocks = (type: WeightType, count: number, seed: number): Uint8Array => {
  const { bytes: size, scales } = weightFormats[type]
  const next = random(seed)
  const bytes = Uint8Array.from({ length: count * size }, () => Math.floor(next() * 256))
  for (let block = 0; block < count; block++) {
    for (const at of scales?.at ?? []) {
      const place = block * size + at + (scales?.kind === 'f16' ? 1 : 0)
      if (scales?.kind === 'f16') bytes[place] &= 0xbb // its exponent is below the largest one
      else if (bytes[place] === 255) bytes[place] = 1
    }
  }
  return bytes
}

/** Bits of every value, so that zeros of both signs differ and numbers that are none are equal. */
const bitsOf = (values: Float32Array): Uint32Array => new Uint32Array(values.buffer, values.byteOffset, values.length)

for (const type of types.filter((name) => name !== 'F32')) {
  test(`${type}: 300 blocks of any bits are ggml's values bit for bit`, () => {
    const bytes = anyBlocks(type, 300, 7)
    assert.deepEqual(bitsOf(decodeBlocks(type, bytes)), bitsOf(ggmlDecode(type, bytes)))
  })
}

test('every type has the name and the sizes that ggml says', () => {
  for (let id = 0; id < 43; id++) {
    const { name, values, bytes } = ggmlTraits(id)
    if (!name || values === 0) {
      assert.throws(() => ggufTensorType(id), /gave up/)
      continue
    }
    assert.deepEqual(ggufTensorType(id), { name: ggufTensorType(id).name, values, bytes })
    assert.equal(ggufTensorType(id).name.toLowerCase(), name.toLowerCase())
  }
  for (const type of types) assert.equal(ggufTensorType(weightFormats[type].id).name, type)
  assert.throws(() => ggufTensorType(1000), /type 1000, which is not known/)
})

for (const type of types.filter((name) => weightFormats[name].scales)) {
  test(`${type}: a scale that is no number is found in whatever part of the tensor`, () => {
    const { bytes: size, scales } = weightFormats[type]
    const next = random(1)
    const values = Float32Array.from({ length: 256 * 40 }, () => next() - 0.5)
    const good = ggmlQuantize(type, values, 256)
    assert.equal(firstBadScale(type, good), -1)
    for (const place of scales?.at ?? []) {
      const bad = good.slice()
      const at = 11 * size + place
      if (scales?.kind === 'f16') bad.set([0x00, 0x7c], at)
      else bad[at] = 255
      assert.equal(firstBadScale(type, bad), 11)
      // as pieces of a file are read: from an even byte on
      const from = (at - 120) & ~1
      assert.equal(firstBadScale(type, bad.subarray(from, at + 2), from), 11)
      assert.equal(firstBadScale(type, bad.subarray(from, at), from), -1)
      assert.equal(firstBadScale(type, bad.subarray((at + 2) & ~1), (at + 2) & ~1), -1)
    }
  })
}
