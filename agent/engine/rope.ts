/** Angles of the rotary position embedding (Su et al., 2021): one row of cosines and sines a position. */
import type { RopeSpec } from '../model/architecture/model-spec.ts'

export interface RopeTables {
  readonly rows: number
  /** f32 [rows, span / 2] */
  readonly cos: Float32Array
  readonly sin: Float32Array
}

/** Tables for positions 0 .. rows - 1; angle of pair i at position p: p times its frequency. */
export const ropeTables = (
  rows: number,
  { frequencies, span, magnitude }: Pick<RopeSpec, 'frequencies' | 'span' | 'magnitude'>,
): RopeTables => {
  const half = span / 2
  const cos = new Float32Array(rows * half)
  const sin = new Float32Array(rows * half)
  for (let i = 0; i < half; i++) {
    const frequency = frequencies[i] ?? 0
    for (let position = 0; position < rows; position++) {
      cos[position * half + i] = magnitude * Math.cos(position * frequency)
      sin[position * half + i] = magnitude * Math.sin(position * frequency)
    }
  }
  return { rows, cos, sin }
}
