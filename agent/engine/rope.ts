/**
 * Angles of the rotary position embedding (Su et al., 2021) in the half-split layout of Hugging Face's Llama:
 * element i of the first half of a head is rotated with element i of the second half.
 */
export interface RopeTables {
  readonly rows: number
  /** f32 [rows, headDim / 2] */
  readonly cos: Float32Array
  readonly sin: Float32Array
}

/** Tables for positions 0 .. rows - 1; angle of pair i at position p: p * theta^(-2 i / headDim). */
export const ropeTables = (rows: number, headDim: number, theta: number): RopeTables => {
  const half = headDim / 2
  const cos = new Float32Array(rows * half)
  const sin = new Float32Array(rows * half)
  for (let i = 0; i < half; i++) {
    const frequency = theta ** ((-2 * i) / headDim)
    for (let position = 0; position < rows; position++) {
      cos[position * half + i] = Math.cos(position * frequency)
      sin[position * half + i] = Math.sin(position * frequency)
    }
  }
  return { rows, cos, sin }
}
