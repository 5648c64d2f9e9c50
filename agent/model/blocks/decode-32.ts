/**
 * Values of ggml's blocks of 32 (Q4_0 and its kin): a scale and 32 codes, 0 to 15 in the low halves of 16 bytes, 16 to
 * 31 in their high halves. Every step is rounded to f32 as in ggml's own `dequantize_row_*`, so that values are its
 * values bit for bit.
 */
import { halfAt } from './halves.ts'

/** Values of whole blocks. `into` has as many elements as `bytes` has blocks, times the values of one. */
export type Decoder = (bytes: Uint8Array, into: Float32Array) => void

const { fround } = Math

/** What the nibbles of IQ4_NL and IQ4_XS stand for, before the scale. */
export const nonLinear = Int8Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
/** What the nibbles of MXFP4 stand for, doubled: fp4 with two bits of exponent and one of mantissa. */
export const doubledFp4 = Int8Array.of(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
/** 2^(e - 128) by the scale byte e of MXFP4: half the scale, since codes are doubled. 255 stands for no number. */
const halvedExponents = Float32Array.from({ length: 256 }, (_, e) => 2 ** (e - 128))
const centred = Int8Array.from({ length: 16 }, (_, code) => code - 8)

/** Blocks of `size` bytes of which a nibble stands for one of 16 levels; nibbles begin at byte `codes`. */
const nibbles =
  (size: number, codes: number, setLevels: (levels: Float32Array, bytes: Uint8Array, from: number) => void): Decoder =>
  (bytes, into) => {
    const levels = new Float32Array(16)
    for (let from = 0, at = 0; from < bytes.length; from += size, at += 32) {
      setLevels(levels, bytes, from)
      for (let j = 0; j < 16; j++) {
        const byte = bytes[from + codes + j]
        into[at + j] = levels[byte & 15]
        into[at + 16 + j] = levels[byte >> 4]
      }
    }
  }

const setScaled = (levels: Float32Array, codes: Int8Array, scale: number): void => {
  for (let code = 0; code < 16; code++) levels[code] = scale * codes[code]
}

export const decodeQ4_0 = nibbles(18, 2, (levels, bytes, from) => setScaled(levels, centred, halfAt(bytes, from)))
export const decodeIq4Nl = nibbles(18, 2, (levels, bytes, from) => setScaled(levels, nonLinear, halfAt(bytes, from)))
export const decodeMxfp4 = nibbles(17, 1, (levels, bytes, from) =>
  setScaled(levels, doubledFp4, halvedExponents[bytes[from]]),
)
export const decodeQ4_1 = nibbles(20, 4, (levels, bytes, from) => {
  const [scale, min] = [halfAt(bytes, from), halfAt(bytes, from + 2)]
  for (let code = 0; code < 16; code++) levels[code] = fround(scale * code) + min
})

/**
 * Nibbles with a fifth bit each, in one word in front of them.
 * @param withMin codes count from a minimum, not from -16
 */
const fiveBits =
  (size: number, withMin: boolean): Decoder =>
  (bytes, into) => {
    const zero = withMin ? 0 : 16
    const word = withMin ? 4 : 2
    for (let from = 0, at = 0; from < bytes.length; from += size, at += 32) {
      const scale = halfAt(bytes, from)
      const min = withMin ? halfAt(bytes, from + 2) : -0 // the only number that changes none, zeros included
      const h = from + word
      const high = bytes[h] | (bytes[h + 1] << 8) | (bytes[h + 2] << 16) | (bytes[h + 3] << 24)
      for (let j = 0; j < 16; j++) {
        const byte = bytes[h + 4 + j]
        into[at + j] = fround(scale * (((byte & 15) | (((high >>> j) & 1) << 4)) - zero)) + min
        into[at + 16 + j] = fround(scale * (((byte >> 4) | (((high >>> (j + 16)) & 1) << 4)) - zero)) + min
      }
    }
  }

export const decodeQ5_0 = fiveBits(22, false)
export const decodeQ5_1 = fiveBits(24, true)

export const decodeQ8_0: Decoder = (bytes, into) => {
  const codes = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length)
  for (let from = 0, at = 0; from < bytes.length; from += 34, at += 32) {
    const scale = halfAt(bytes, from)
    for (let j = 0; j < 32; j++) into[at + j] = scale * codes[from + 2 + j]
  }
}
