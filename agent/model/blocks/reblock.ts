/**
 * Blocks of 256 as blocks of 32, for matrices of which a rank holds columns that do not end at every 256th. Q4_K, Q5_K
 * and IQ4_XS keep their codes: a sub-block of 32 is a block of the other type, and only the rounding of its scale (and
 * minimum) to f16 is new, 0.06 % of the weights' size. The others have scales for 16 values and become Q8_0: 0.5 %.
 */
import type { BlockType, WeightType } from '../architecture/tensor-roles.ts'
import { minK, scaleK } from './decode-256.ts'
import { weightFormats } from './formats.ts'
import { halfAt, writeHalf } from './halves.ts'

/** The finer type of each type of blocks of 256. */
export const reblockedTypes = {
  Q4_K: 'Q4_1',
  Q5_K: 'Q5_1',
  IQ4_XS: 'IQ4_NL',
  Q2_K: 'Q8_0',
  Q3_K: 'Q8_0',
  Q6_K: 'Q8_0',
} as const satisfies Partial<Record<WeightType, BlockType>>
export type ReblockedType = keyof typeof reblockedTypes

export const isReblocked = (type: WeightType): type is ReblockedType => Object.hasOwn(reblockedTypes, type)

/** One block of 256, at `from`, into eight of 32 from `at` on. */
type Reblock = (bytes: Uint8Array, from: number, into: Uint8Array, at: number) => void

const reblockQ4K: Reblock = (bytes, from, into, at) => {
  const [d, dmin] = [halfAt(bytes, from), halfAt(bytes, from + 2)]
  for (let b = 0; b < 8; b++) {
    const [out, q, shift] = [at + 20 * b, from + 16 + 32 * (b >> 1), 4 * (b & 1)]
    writeHalf(into, out, d * scaleK(bytes, from + 4, b))
    writeHalf(into, out + 2, -dmin * minK(bytes, from + 4, b))
    for (let j = 0; j < 16; j++)
      into[out + 4 + j] = ((bytes[q + j] >> shift) & 15) | (((bytes[q + j + 16] >> shift) & 15) << 4)
  }
}

const reblockQ5K: Reblock = (bytes, from, into, at) => {
  const [d, dmin] = [halfAt(bytes, from), halfAt(bytes, from + 2)]
  for (let b = 0; b < 8; b++) {
    const [out, q, shift] = [at + 24 * b, from + 48 + 32 * (b >> 1), 4 * (b & 1)]
    writeHalf(into, out, d * scaleK(bytes, from + 4, b))
    writeHalf(into, out + 2, -dmin * minK(bytes, from + 4, b))
    let fifth = 0
    for (let l = 0; l < 32; l++) fifth |= ((bytes[from + 16 + l] >> b) & 1) << l
    for (let byte = 0; byte < 4; byte++) into[out + 4 + byte] = fifth >>> (8 * byte)
    for (let j = 0; j < 16; j++)
      into[out + 8 + j] = ((bytes[q + j] >> shift) & 15) | (((bytes[q + j + 16] >> shift) & 15) << 4)
  }
}

const reblockIq4Xs: Reblock = (bytes, from, into, at) => {
  const d = halfAt(bytes, from)
  const high = bytes[from + 2] | (bytes[from + 3] << 8)
  for (let b = 0; b < 8; b++) {
    const low = (bytes[from + 4 + (b >> 1)] >> (4 * (b & 1))) & 15
    writeHalf(into, at + 18 * b, d * ((low | (((high >> (2 * b)) & 3) << 4)) - 32))
    into.set(bytes.subarray(from + 8 + 16 * b, from + 24 + 16 * b), at + 18 * b + 2)
  }
}

/** As `roundf`: halves away from zero. */
const rounded = (value: number): number => (value < 0 ? -Math.round(-value) : Math.round(value))

/** f32 to Q8_0, as ggml's own `quantize_row_q8_0_ref`. @param values whole blocks of 32 */
export const encodeQ8 = (values: Float32Array, into: Uint8Array, at: number): void => {
  for (let from = 0, out = at; from < values.length; from += 32, out += 34) {
    let largest = 0
    for (let j = 0; j < 32; j++) largest = Math.max(largest, Math.abs(values[from + j]))
    const scale = Math.fround(largest / 127)
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale)
    writeHalf(into, out, scale)
    for (let j = 0; j < 32; j++) into[out + 2 + j] = rounded(Math.fround(values[from + j] * inverse))
  }
}

const values256 = new Float32Array(256)
const throughValues =
  (type: ReblockedType): Reblock =>
  (bytes, from, into, at) => {
    const { decode, bytes: size } = weightFormats[type]
    decode(bytes.subarray(from, from + size), values256)
    encodeQ8(values256, into, at)
  }

const reblocks: Readonly<Record<ReblockedType, Reblock>> = {
  Q4_K: reblockQ4K,
  Q5_K: reblockQ5K,
  IQ4_XS: reblockIq4Xs,
  Q2_K: throughValues('Q2_K'),
  Q3_K: throughValues('Q3_K'),
  Q6_K: throughValues('Q6_K'),
}

/**
 * The same values in blocks of 32: bytes of type `reblockedTypes[type]`, eight blocks for each, in the same order, so
 * that rows stay rows. A scale that no f16 holds becomes infinite: `firstBadScale` finds it.
 * @param bytes whole blocks
 */
export const reblock = (type: ReblockedType, bytes: Uint8Array): Uint8Array => {
  const [size, wide] = [weightFormats[type].bytes, 8 * weightFormats[reblockedTypes[type]].bytes]
  const into = new Uint8Array((bytes.length / size) * wide)
  for (let from = 0, at = 0; from < bytes.length; from += size, at += wide) reblocks[type](bytes, from, into, at)
  return into
}
