/**
 * Symmetric quantisation in blocks of columns: value = (code - zero) * scale, zero 8 for 4 bits and 128 for 8.
 * Scales are numbers that f16 holds exactly, so that every backend computes with the same weights.
 */
import type { Range } from '../../shared/schema/common.ts'
import type { Quant } from '../../shared/schema/model.ts'

/** Columns of a block where a backend asks for nothing else; those of ggml, and of a unit of the shard plan. */
export const blockColumns = 32
/** Block widths that shard files may have. */
export type BlockColumns = 32 | 128
export type QuantBits = 4 | 8

export interface BlockFormat {
  readonly bits: QuantBits
  readonly block: BlockColumns
}

/** Bits of a code, where there are codes. */
export const bitsOf = (quant: Quant): QuantBits => {
  if (quant === 'q4') return 4
  if (quant === 'q8') return 8
  throw new Error(`weights in ${quant} have no codes`)
}

export interface Quantized {
  /** u8 [rows, blocks, block * bits / 8]; with 4 bits the even column is in the low nibble. */
  readonly codes: Uint8Array
  /** f32 [rows, blocks] */
  readonly scales: Float32Array
}

/** Scales tried for each 4-bit block, as parts of the one that maps the largest value to code 0 (minus eight). */
const candidates4 = [1, 0.94, 0.88, 1.06] as const

const half = new Float16Array(1)
const toHalf = (value: number): number => {
  half[0] = value
  return half[0]
}

/** Value of largest magnitude, sign kept. */
const extreme = (values: Float32Array, start: number, end: number): number => {
  let found = 0
  for (let i = start; i < end; i++) if (Math.abs(values[i]) > Math.abs(found)) found = values[i]
  return found
}

const squaredError4 = (values: Float32Array, start: number, end: number, scale: number): number => {
  let error = 0
  for (let i = start; i < end; i++) {
    const code = scale === 0 ? 0 : Math.max(-8, Math.min(7, Math.round(values[i] / scale)))
    error += (values[i] - code * scale) ** 2
  }
  return error
}

/** The candidate of least squared error: about a tenth less error than the plain rule on normal weights. */
const scale4 = (values: Float32Array, start: number, end: number): number => {
  const base = extreme(values, start, end) / -8
  let best = toHalf(base)
  let least = squaredError4(values, start, end, best)
  for (const part of candidates4.slice(1)) {
    const scale = toHalf(base * part)
    const error = squaredError4(values, start, end, scale)
    if (error < least) [best, least] = [scale, error]
  }
  return best
}

/**
 * Quantises a matrix f32 [rows, columns]; columns beyond the last full block are padded with zeros.
 * @param kept columns that are stored; the others count for the scales of their blocks, and become zeros. So a slice
 * that is given from the start of its first block to the end of its last one has the codes of the whole matrix,
 * wherever it begins and ends.
 */
export const quantize = (
  values: Float32Array,
  rows: number,
  columns: number,
  { bits, block: width, kept }: BlockFormat & { readonly kept?: Range },
): Quantized => {
  const blocks = Math.ceil(columns / width)
  const bytes = (width * bits) / 8
  const codes = new Uint8Array(rows * blocks * bytes).fill(bits === 4 ? 0x88 : 0x80)
  const scales = new Float32Array(rows * blocks)
  for (let row = 0; row < rows; row++) {
    for (let block = 0; block < blocks; block++) {
      const start = row * columns + block * width
      const end = Math.min(start + width, (row + 1) * columns)
      const index = row * blocks + block
      const scale = bits === 4 ? scale4(values, start, end) : toHalf(Math.abs(extreme(values, start, end)) / 127)
      scales[index] = scale
      if (scale === 0) continue
      const from = Math.max(start, row * columns + (kept?.start ?? 0))
      const to = Math.min(end, row * columns + (kept?.end ?? columns))
      for (let i = from; i < to; i++) {
        const code = Math.round(values[i] / scale)
        if (bits === 8) codes[index * bytes + i - start] = 128 + Math.max(-128, Math.min(127, code))
        else writeNibble(codes, index * bytes * 2 + i - start, 8 + Math.max(-8, Math.min(7, code)))
      }
    }
  }
  return { codes, scales }
}

/** @param at in nibbles: the even one of a byte is its low half */
const writeNibble = (codes: Uint8Array, at: number, code: number): void => {
  const byte = at >> 1
  codes[byte] = at % 2 === 0 ? (codes[byte] & 0xf0) | code : (codes[byte] & 0x0f) | (code << 4)
}

/** f32 [rows, columns]: what the codes stand for. */
export const dequantize = (
  { codes, scales }: Quantized,
  rows: number,
  columns: number,
  { bits, block }: BlockFormat,
): Float32Array => {
  const blocks = Math.ceil(columns / block)
  const bytes = (block * bits) / 8
  const values = new Float32Array(rows * columns)
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const index = row * blocks + Math.floor(column / block)
      const inside = column % block
      const byte = codes[index * bytes + (bits === 4 ? inside >> 1 : inside)]
      const code = bits === 8 ? byte - 128 : (inside % 2 === 0 ? byte & 15 : byte >> 4) - 8
      values[row * columns + column] = code * scales[index]
    }
  }
  return values
}
