/**
 * How weights are stored: one row for each type whose bytes the engine may use as they are. Bytes of a block, their
 * layout and their meaning are ggml's (`ggml-common.h`); little-endian.
 */
import { blockSizes, type WeightType } from '../architecture/tensor-roles.ts'
import {
  type Decoder,
  decodeIq4Nl,
  decodeMxfp4,
  decodeQ4_0,
  decodeQ4_1,
  decodeQ5_0,
  decodeQ5_1,
  decodeQ8_0,
} from './decode-32.ts'
import { decodeIq4Xs, decodeQ2K, decodeQ3K, decodeQ4K, decodeQ5K, decodeQ6K } from './decode-256.ts'
import { halfValues } from './halves.ts'

/** Where a block keeps the numbers that could be none. `exponent`: a byte of which 255 is none (MXFP4). */
interface Scales {
  readonly kind: 'f16' | 'exponent'
  /** Bytes from the start of the block. */
  readonly at: readonly number[]
}

export interface WeightFormat {
  /** `ggml_type` of the type. */
  readonly id: number
  /** Columns of a block; 1 for plain floats. Blocks lie along the columns of a row. */
  readonly values: number
  /** Bytes of a block. */
  readonly bytes: number
  /** f32 of whole blocks. */
  readonly decode: Decoder
  /** Absent for plain floats. */
  readonly scales?: Scales
}

/** @param bytes of any alignment */
const decodeF32: Decoder = (bytes, into) =>
  new Uint8Array(into.buffer, into.byteOffset, into.byteLength).set(bytes.subarray(0, into.byteLength))

const decodeF16: Decoder = (bytes, into) => {
  for (let i = 0; i < into.length; i++) into[i] = halfValues[bytes[2 * i] | (bytes[2 * i + 1] << 8)]
}

const decodeBf16: Decoder = (bytes, into) => {
  const words = new Uint32Array(into.buffer, into.byteOffset, into.length)
  // bf16 is the upper half of an f32
  for (let i = 0; i < words.length; i++) words[i] = (bytes[2 * i] << 16) | (bytes[2 * i + 1] << 24)
}

const f16 = (...at: readonly number[]): Scales => ({ kind: 'f16', at })

export const weightFormats: Readonly<Record<WeightType, WeightFormat>> = {
  F32: { id: 0, ...blockSizes.F32, decode: decodeF32 },
  F16: { id: 1, ...blockSizes.F16, decode: decodeF16 },
  BF16: { id: 30, ...blockSizes.BF16, decode: decodeBf16 },
  Q4_0: { id: 2, ...blockSizes.Q4_0, decode: decodeQ4_0, scales: f16(0) },
  Q4_1: { id: 3, ...blockSizes.Q4_1, decode: decodeQ4_1, scales: f16(0, 2) },
  Q5_0: { id: 6, ...blockSizes.Q5_0, decode: decodeQ5_0, scales: f16(0) },
  Q5_1: { id: 7, ...blockSizes.Q5_1, decode: decodeQ5_1, scales: f16(0, 2) },
  Q8_0: { id: 8, ...blockSizes.Q8_0, decode: decodeQ8_0, scales: f16(0) },
  IQ4_NL: { id: 20, ...blockSizes.IQ4_NL, decode: decodeIq4Nl, scales: f16(0) },
  MXFP4: { id: 39, ...blockSizes.MXFP4, decode: decodeMxfp4, scales: { kind: 'exponent', at: [0] } },
  Q2_K: { id: 10, ...blockSizes.Q2_K, decode: decodeQ2K, scales: f16(80, 82) },
  Q3_K: { id: 11, ...blockSizes.Q3_K, decode: decodeQ3K, scales: f16(108) },
  Q4_K: { id: 12, ...blockSizes.Q4_K, decode: decodeQ4K, scales: f16(0, 2) },
  Q5_K: { id: 13, ...blockSizes.Q5_K, decode: decodeQ5K, scales: f16(0, 2) },
  Q6_K: { id: 14, ...blockSizes.Q6_K, decode: decodeQ6K, scales: f16(208) },
  IQ4_XS: { id: 23, ...blockSizes.IQ4_XS, decode: decodeIq4Xs, scales: f16(0) },
}

export const isWeightType = (name: string): name is WeightType => Object.hasOwn(weightFormats, name)

/** Bytes of so many values, a multiple of those of a block. */
export const bytesOfValues = (type: WeightType, values: number): number => {
  const format = weightFormats[type]
  return (values / format.values) * format.bytes
}

/** f32 of whole blocks. */
export const decodeBlocks = (type: WeightType, bytes: Uint8Array): Float32Array => {
  const { values, bytes: size, decode } = weightFormats[type]
  const into = new Float32Array((bytes.length / size) * values)
  decode(bytes, into)
  return into
}

/**
 * Index of the first block of which a scale is infinite or not a number, or -1; plain floats are not looked at.
 * @param bytes some of the bytes of a tensor
 * @param offset of their first one from the start of the tensor; even, so that no f16 is cut
 */
export const firstBadScale = (type: WeightType, bytes: Uint8Array, offset = 0): number => {
  const { bytes: size, scales } = weightFormats[type]
  if (scales === undefined) return -1
  let found = -1
  for (const place of scales.at) {
    const skipped = Math.max(0, Math.ceil((offset - place) / size))
    const end = bytes.length - (scales.kind === 'f16' ? 1 : 0)
    for (let block = skipped, at = skipped * size + place - offset; at < end; block++, at += size) {
      const isBad = scales.kind === 'f16' ? (bytes[at + 1] & 0x7c) === 0x7c : bytes[at] === 255
      if (!isBad) continue
      if (found < 0 || block < found) found = block
      break
    }
  }
  return found
}
