/**
 * Values of ggml's blocks of 256 (K-quants and IQ4_XS): sub-blocks of 32 or 16 with scales of their own, which count in
 * units of the block's. Rounded step by step as in ggml's own `dequantize_row_*`.
 */
import { type Decoder, nonLinear } from './decode-32.ts'
import { halfAt } from './halves.ts'

const { fround } = Math

/** Blocks of 256 values. */
const blocks =
  (size: number, decodeOne: (bytes: Uint8Array, from: number, into: Float32Array, at: number) => void): Decoder =>
  (bytes, into) => {
    for (let from = 0, at = 0; from < bytes.length; from += size, at += 256) decodeOne(bytes, from, into, at)
  }

/** Scale of sub-block b of Q4_K and Q5_K, in units of the block's. @param s where the twelve bytes of scales begin */
export const scaleK = (bytes: Uint8Array, s: number, b: number): number =>
  b < 4 ? bytes[s + b] & 63 : (bytes[s + b + 4] & 15) | ((bytes[s + b - 4] >> 6) << 4)

/** The same of its minimum, which is subtracted. */
export const minK = (bytes: Uint8Array, s: number, b: number): number =>
  b < 4 ? bytes[s + b + 4] & 63 : (bytes[s + b + 4] >> 4) | ((bytes[s + b] >> 6) << 4)

/** Levels of the codes of a sub-block of Q4_K or Q5_K. */
const setLevels = (levels: Float32Array, bytes: Uint8Array, from: number, b: number): void => {
  const scale = fround(halfAt(bytes, from) * scaleK(bytes, from + 4, b))
  const min = fround(halfAt(bytes, from + 2) * minK(bytes, from + 4, b))
  for (let code = 0; code < levels.length; code++) levels[code] = fround(scale * code) - min
}

const levels16 = new Float32Array(16)
const levels32 = new Float32Array(32)

export const decodeQ4K = blocks(144, (bytes, from, into, at) => {
  for (let b = 0; b < 8; b++) {
    setLevels(levels16, bytes, from, b)
    const [q, out, shift] = [from + 16 + 32 * (b >> 1), at + 32 * b, 4 * (b & 1)]
    for (let l = 0; l < 32; l++) into[out + l] = levels16[(bytes[q + l] >> shift) & 15]
  }
})

export const decodeQ5K = blocks(176, (bytes, from, into, at) => {
  for (let b = 0; b < 8; b++) {
    setLevels(levels32, bytes, from, b)
    const [q, out, shift] = [from + 48 + 32 * (b >> 1), at + 32 * b, 4 * (b & 1)]
    for (let l = 0; l < 32; l++)
      into[out + l] = levels32[((bytes[q + l] >> shift) & 15) | (((bytes[from + 16 + l] >> b) & 1) << 4)]
  }
})

/** Value of a byte as a signed number. */
const signed = (byte: number): number => (byte << 24) >> 24

export const decodeQ6K = blocks(210, (bytes, from, into, at) => {
  const d = halfAt(bytes, from + 208)
  for (let half = 0; half < 2; half++) {
    const [ql, qh, s, out] = [from + 64 * half, from + 128 + 32 * half, from + 192 + 8 * half, at + 128 * half]
    for (let l = 0; l < 32; l++) {
      const [low, next, high, i] = [bytes[ql + l], bytes[ql + l + 32], bytes[qh + l], s + (l >> 4)]
      into[out + l] = fround(d * signed(bytes[i])) * (((low & 15) | ((high & 3) << 4)) - 32)
      into[out + l + 32] = fround(d * signed(bytes[i + 2])) * (((next & 15) | (((high >> 2) & 3) << 4)) - 32)
      into[out + l + 64] = fround(d * signed(bytes[i + 4])) * (((low >> 4) | (((high >> 4) & 3) << 4)) - 32)
      into[out + l + 96] = fround(d * signed(bytes[i + 6])) * (((next >> 4) | ((high >> 6) << 4)) - 32)
    }
  }
})

const levels4 = new Float32Array(4)

export const decodeQ2K = blocks(84, (bytes, from, into, at) => {
  const [d, dmin] = [halfAt(bytes, from + 80), halfAt(bytes, from + 82)]
  for (let b = 0; b < 16; b++) {
    // sub-block b = 8 half + 2 t + r
    const [half, t, r] = [b >> 3, (b >> 1) & 3, b & 1]
    const [scale, min] = [fround(d * (bytes[from + b] & 15)), fround(dmin * (bytes[from + b] >> 4))]
    for (let code = 0; code < 4; code++) levels4[code] = fround(scale * code) - min
    const q = from + 16 + 32 * half + 16 * r
    for (let l = 0; l < 16; l++) into[at + 16 * b + l] = levels4[(bytes[q + l] >> (2 * t)) & 3]
  }
})

/** Scale of sub-block k of Q3_K. */
const scaleQ3K = (bytes: Uint8Array, s: number, k: number): number =>
  (((bytes[s + (k & 7)] >> (k < 8 ? 0 : 4)) & 15) | (((bytes[s + 8 + (k & 3)] >> (2 * (k >> 2))) & 3) << 4)) - 32

export const decodeQ3K = blocks(110, (bytes, from, into, at) => {
  const d = halfAt(bytes, from + 108)
  for (let b = 0; b < 16; b++) {
    const [half, t, r] = [b >> 3, (b >> 1) & 3, b & 1]
    const scale = fround(d * scaleQ3K(bytes, from + 96, b))
    const [q, h, bit] = [from + 32 + 32 * half + 16 * r, from + 16 * r, 4 * half + t]
    for (let l = 0; l < 16; l++) {
      const low = (bytes[q + l] >> (2 * t)) & 3
      into[at + 16 * b + l] = scale * (low - 4 * (1 - ((bytes[h + l] >> bit) & 1)))
    }
  }
})

export const decodeIq4Xs = blocks(136, (bytes, from, into, at) => {
  const d = halfAt(bytes, from)
  const high = bytes[from + 2] | (bytes[from + 3] << 8)
  for (let b = 0; b < 8; b++) {
    const low = (bytes[from + 4 + (b >> 1)] >> (4 * (b & 1))) & 15
    const scale = fround(d * ((low | (((high >> (2 * b)) & 3) << 4)) - 32))
    for (let code = 0; code < 16; code++) levels16[code] = scale * nonLinear[code]
    const [q, out] = [from + 8 + 16 * b, at + 32 * b]
    for (let j = 0; j < 16; j++) {
      into[out + j] = levels16[bytes[q + j] & 15]
      into[out + 16 + j] = levels16[bytes[q + j] >> 4]
    }
  }
})
