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
import type { Payload } from '../channel/channel.ts'
import { bytesOf, floatsOf } from './floats.ts'
import { wrongPeer } from '../channel/peer-errors.ts'
import { vectors } from './vectors.ts'

export const wireTypes = ['f32', 'f16', 'q8'] as const
export type WireType = (typeof wireTypes)[number]
/** `auto`: f16 for a prompt, where bytes cost time, f32 for single tokens, where they do not. */
export type WireChoice = WireType | 'auto'

/** Bytes of f32 from which `auto` takes f16. */
const bulkBytes = 64 * 1024

/** @param bytes of the tensor as f32 */
export const wireFor = (choice: WireChoice, bytes: number): WireType =>
  choice !== 'auto' ? choice : bytes >= bulkBytes ? 'f16' : 'f32'

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
  /** No value of a part is NaN, infinite or absurd: 2^24 or more, which nothing in a model comes near. */
  isPlausible(part: Uint8Array): boolean
}

/**
 * An exponent too high: all bits of it set is not finite. Adding what lacks to the next power of two carries into the
 * bit of the sign then, and only then; under a nanosecond a word, where a comparison of each value takes several.
 * @param mask of the exponents in a word, @param lacks added to each, @param carry the bits of the signs
 */
const noneAbove = (
  bytes: Uint8Array,
  { mask, lacks, carry }: { readonly mask: number; readonly lacks: number; readonly carry: number },
): boolean => {
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2)
  let found = 0
  for (let i = 0; i < words.length; i++) found |= ((words[i] & mask) + lacks) | 0
  return (found & carry) === 0
}
/** f32 below 2^power: with the exponents of those at or above it. */
const singlesBelow = (power: number) => ({ mask: 0x7f800000, lacks: (256 - 127 - power) << 23, carry: 0x80000000 | 0 })
const singles = singlesBelow(24)
/** Of a block of q8, whose largest value is 127 of them. */
const scalesOfQ8 = singlesBelow(17)
/**
 * Two in a word: the carry of the lower one ends at its own sign, which the mask took away. Finite ones end at 65504.
 */
const halves = { mask: 0x7c007c00, lacks: 0x04000400, carry: 0x80008000 | 0 }

const f32: WireCodec = {
  dtype: dtypes.f32,
  size: (length) => length * 4,
  encode: bytesOf,
  set: (sum, part) => sum.set(floatsOf(part, sum.length)),
  add: (sum, part) => vectors.add(sum, floatsOf(part, sum.length)),
  isPlausible: (part) => noneAbove(part, singles),
}

const halvesOf = (bytes: Uint8Array, length: number): Uint16Array =>
  new Uint16Array(bytes.buffer, bytes.byteOffset, length)
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
  isPlausible: (part) => {
    const last = part.length % 4 === 0 ? 0 : new Uint16Array(part.buffer, part.byteOffset + part.length - 2, 1)[0]
    return (last & 0x7c00) !== 0x7c00 && noneAbove(part, halves)
  },
}

const block = 64
const levels = 127

/** Scales of all blocks, f32, then the codes. */
const blocksOf = (bytes: Uint8Array, length: number): { readonly scales: Float32Array; readonly codes: Int8Array } => {
  const blocks = Math.ceil(length / block)
  return {
    scales: new Float32Array(bytes.buffer, bytes.byteOffset, blocks),
    codes: new Int8Array(bytes.buffer, bytes.byteOffset + blocks * 4, length),
  }
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
  // a code is a small number: only the scales can be anything else, a quarter of the words before the codes
  isPlausible: (part) =>
    noneAbove(part.subarray(0, 4 * Math.floor((part.length + block + 3) / (block + 4))), scalesOfQ8),
}

export const wireCodecs: Readonly<Record<WireType, WireCodec>> = { f32, f16, q8 }

/** Elements that another rank sent, and how many there are in all. */
export interface PartPlace {
  readonly start: number
  readonly length: number
  readonly total: number
}

/**
 * Some elements of a part as f32, a copy.
 * @returns `undefined` where others share their blocks: then they cannot be told for themselves
 */
export const rowOf = (
  part: Uint8Array,
  wire: WireType,
  { start, length, total }: PartPlace,
): Float32Array | undefined => {
  if (wire === 'q8' && (start % block !== 0 || (length % block !== 0 && start + length !== total))) return undefined
  const codec = wireCodecs[wire]
  const row = new Float32Array(length)
  if (wire !== 'q8') {
    codec.set(row, part.subarray(codec.size(start), codec.size(start + length)))
    return row
  }
  const all = new Float32Array(total)
  codec.set(all, part)
  return all.slice(start, start + length)
}

/** Values as other ranks get them, a copy. */
export const asSent = (values: Float32Array, wire: WireType): Float32Array => {
  const codec = wireCodecs[wire]
  const sent = new Float32Array(values.length)
  codec.set(
    sent,
    codec.encode(values, () => new Uint8Array(codec.size(values.length))),
  )
  return sent
}

/**
 * A part that another rank sent, aligned. Each rank looks at its own before it sends (`checkOwn`), so whoever sends
 * what is not plausible is wrong itself, and not the victim of somebody before it.
 * @throws MeshError `peerInvalid` (by rank alone) for another type or length, and for a value that is not plausible
 */
export const partOf = (
  { dtype, bytes }: Payload,
  codec: WireCodec,
  { from, length }: { readonly from: number; readonly length: number },
): Uint8Array => {
  if (dtype !== codec.dtype || bytes.length !== codec.size(length)) {
    throw wrongPeer(
      { rank: from },
      `a tensor of type ${dtype} and ${bytes.length} bytes, want type ${codec.dtype} and ${length} elements`,
    )
  }
  const part = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice()
  if (!codec.isPlausible(part))
    throw wrongPeer({ rank: from }, 'a tensor with a value that is no finite number, or absurd (2^24 or more)')
  return part
}

/**
 * @throws MeshError `backendFailed` when what this rank computed is not plausible: it says so itself, before the others
 * find out
 */
export const checkOwn = (part: Uint8Array, codec: WireCodec): void => {
  if (!codec.isPlausible(part))
    throw new MeshError('backendFailed', {
      backend: 'compute',
      problem: 'its part of a sum has a value that is no finite number, or absurd (2^24 or more)',
    })
}
