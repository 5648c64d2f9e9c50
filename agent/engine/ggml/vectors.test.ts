import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Vectors, vectorsInJavaScript } from '../../collective/vectors.ts'
import { ggmlComes } from '../test/platform.ts'
import { openDevice } from './device.ts'
import { openGgml } from './library.ts'
import { nativeVectors } from './vectors.ts'

const skip = !ggmlComes && 'no ggml for this platform'

/** As the compute process has them, once ggml chose its library. */
const openVectors = (): Vectors => {
  openDevice(openGgml(), 1).close()
  const vectors = nativeVectors()
  assert.ok(vectors, 'they were found')
  return vectors
}

test('vectors: every f16, and f32 of every exponent, are converted as JavaScript does', { skip }, () => {
  const vectors = openVectors()
  const every = Uint16Array.from({ length: 65_536 }, (_, bits) => bits)
  const floats = new Float32Array(every.length)
  vectors.toFloat(every, floats)
  assert.deepEqual(floats, Float32Array.from(new Float16Array(every.buffer)))

  const bits = new Uint32Array(1_000_003)
  let state = 1
  for (let i = 0; i < bits.length; i++) bits[i] = state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
  // what lies half-way between two f16, and next to it
  for (let i = 0; i < 65_000; i++) bits[i] = (0x3800_0000 + i * 0x1000 + (i % 3) - 1) >>> 0
  // what is left of a NaN's bits is nobody's concern
  const random = new Float32Array(bits.buffer).map((value) => (Number.isNaN(value) ? 1 : value))
  const got = new Uint16Array(random.length)
  vectors.toHalf(random, got)
  assert.deepEqual(got, new Uint16Array(new Float16Array(random).buffer))
})

test('vectors: additions of any length and place have the bits of JavaScript, and touch nothing else', { skip }, () => {
  const vectors = openVectors()
  assert.notEqual(vectors.add, vectorsInJavaScript.add)
  const margin = 7
  for (const length of [0, 1, 2048, 32_767, 32_768, 32_769, 262_144, 262_147]) {
    for (const shift of [0, 1, 3]) {
      const sum = Float32Array.from(
        { length: length + 2 * margin },
        (_, i) => Math.sin(i + length) * 10 ** ((i % 77) - 38),
      )
      const part = Float32Array.from({ length: length + shift }, (_, i) =>
        i % 1001 === 0 ? [NaN, Infinity, -0, 1e-45][(i / 1001) % 4] : Math.cos(i) * 10 ** ((i % 75) - 37),
      )
      const wanted = sum.slice()
      vectorsInJavaScript.add(wanted.subarray(margin, margin + length), part.subarray(shift))
      vectors.add(sum.subarray(margin, margin + length), part.subarray(shift))
      assert.deepEqual(sum, wanted, `${length} from ${shift}`)
    }
  }
})
