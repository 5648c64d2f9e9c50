/**
 * Angles of the rotary position embedding (Su et al., 2021) in the half-split layout of Hugging Face's Llama:
 * element i of the first half of a head is rotated with element i of the second half.
 */
import { type Rope, ropeFrequencies } from '../model/rope.ts'

export interface RopeTables {
  readonly rows: number
  /** f32 [rows, headDim / 2] */
  readonly cos: Float32Array
  readonly sin: Float32Array
}

/** Tables for positions 0 .. rows - 1; angle of pair i at position p: p times its frequency. */
export const ropeTables = (rows: number, headDim: number, rope: Rope): RopeTables => {
  const half = headDim / 2
  const cos = new Float32Array(rows * half)
  const sin = new Float32Array(rows * half)
  for (const [i, frequency] of ropeFrequencies(rope, headDim).entries()) {
    for (let position = 0; position < rows; position++) {
      cos[position * half + i] = Math.cos(position * frequency)
      sin[position * half + i] = Math.sin(position * frequency)
    }
  }
  return { rows, cos, sin }
}
