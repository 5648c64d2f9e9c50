/**
 * How tensors travel in a direct exchange and around the ring. What is lost each time that a rank sends something:
 *
 * - f32: nothing
 * - f16: each value is off by at most 2^-11 of itself (values beyond 65504 become infinite); half the bytes
 * - q8: each value is off by at most 1/254 of the largest in its block of 64; 17/64 of the bytes. A block with a value
 *   that is not finite becomes NaN.
 *
 * Every rank, the sender too, adds what was sent, so all hold the same bits.
 */
import { MeshError } from '../../shared/errors.ts'
import { type Dtype, dtypes } from '../../shared/wire/frame.ts'
import type { Payload } from './channel.ts'
import { bytesOf, floatsOf } from './floats.ts'
import { vectors } from './vectors.ts'

export const wireTypes = ['f32', 'f16', 'q8'] as const
export type WireType = (typeof wireTypes)[number]
/** `auto`: f16 for a prompt, where bytes cost time, f32 for single tokens, where they do not. */
export type WireChoice = WireType | 'auto'

/** Bytes of f32 from which `auto` takes f16. */
const bulkBytes = 64 * 1024

/** @param bytes of the tensor as f32 */
export const wireFor = (choice: WireChoice, bytes: number): WireType => (choice !== 'auto' ? choice : bytes >= bulkBytes ? 'f16' : 'f32')

export interface WireCodec {
  readonly dtype: Dtype
  /** Bytes of `length` elements. */
  size(length: number): number
  /** @param into `size(data.length)` bytes, aligned to 4; f32 needs none and returns a view of the data */
  encode(data: Float32Array, into: () => Uint8Array): Uint8Array
  /** sum = part */
  set(sum: Float32Array, part: Uint8Array): void
  /** sum += part */
  add(sum: Float32Array, part: Uint8Array): void
}

const f32: WireCodec = {
  dtype: dtypes.f32,
  size: (length) => length * 4,
  encode: bytesOf,
  set: (sum, part) => sum.set(floatsOf(part, sum.length)),
  add: (sum, part) => vectors.add(sum, floatsOf(part, sum.length)),
}

const halvesOf = (bytes: Uint8Array, length: number): Uint16Array => new Uint16Array(bytes.buffer, bytes.byteOffset, length)
/** What a part is as f32, before it is added. */
let scratch = new Float32Array(0)

const f16: WireCodec = {
  dtype: dtypes.f16,
  size: (length) => length * 2,
  encode: (data, into) => {
    const bytes = into()
    vectors.toHalf(data, halvesOf(bytes, data.length))
    return bytes
  },
  set: (sum, part) => vectors.toFloat(halvesOf(part, sum.length), sum),
  add: (sum, part) => {
    if (scratch.length < sum.length) scratch = new Float32Array(sum.length)
    const values = scratch.subarray(0, sum.length)
    vectors.toFloat(halvesOf(part, sum.length), values)
    vectors.add(sum, values)
  },
}

const block = 64
const levels = 127

/** Scales of all blocks, f32, then the codes. */
const blocksOf = (bytes: Uint8Array, length: number): { readonly scales: Float32Array; readonly codes: Int8Array } => {
  const blocks = Math.ceil(length / block)
  return { scales: new Float32Array(bytes.buffer, bytes.byteOffset, blocks), codes: new Int8Array(bytes.buffer, bytes.byteOffset + blocks * 4, length) }
}

const q8: WireCodec = {
  dtype: dtypes.q8,
  size: (length) => Math.ceil(length / block) * 4 + length,
  encode: (data, into) => {
    const bytes = into()
    const { scales, codes } = blocksOf(bytes, data.length)
    for (let index = 0, start = 0; start < data.length; index++, start += block) {
      const end = Math.min(start + block, data.length)
      let largest = 0
      for (let i = start; i < end; i++) largest = Math.max(largest, Math.abs(data[i])) // NaN stays NaN
      scales[index] = Number.isFinite(largest) ? largest / levels : NaN
      const inverse = scales[index] > 0 ? 1 / scales[index] : 0
      // a subnormal scale may round to a code too many
      for (let i = start; i < end; i++) codes[i] = Math.max(-levels, Math.min(levels, Math.round(data[i] * inverse)))
    }
    return bytes
  },
  set: (sum, part) => {
    const { scales, codes } = blocksOf(part, sum.length)
    for (let i = 0; i < sum.length; i++) sum[i] = codes[i] * scales[i >> 6]
  },
  add: (sum, part) => {
    const { scales, codes } = blocksOf(part, sum.length)
    // rounded before it is added, so that a + b is b + a
    for (let i = 0; i < sum.length; i++) sum[i] += Math.fround(codes[i] * scales[i >> 6])
  },
}

export const wireCodecs: Readonly<Record<WireType, WireCodec>> = { f32, f16, q8 }

/** Bytes of a part that came, aligned. @throws MeshError `frameInvalid` for another type or length */
export const partOf = ({ dtype, bytes }: Payload, codec: WireCodec, length: number): Uint8Array => {
  if (dtype !== codec.dtype || bytes.length !== codec.size(length)) throw new MeshError('frameInvalid', { problem: `a tensor of type ${dtype} and ${bytes.length} bytes, want type ${codec.dtype} and ${length} elements` })
  return bytes.byteOffset % 4 === 0 ? bytes : bytes.slice()
}
