/** Rotary position embedding of models whose layers are all alike, as the engine asks for it. */
import { ropeDivisors as divisorsOf, type Llama3Scaling } from './architecture/rope-frequencies.ts'

export interface Rope {
  readonly theta: number
  /** Absent: frequencies as theta gives them. */
  readonly scaling?: Llama3Scaling
}

/** What the frequency of pair i is divided by, for each i below headDim / 2. */
export const ropeDivisors = ({ theta, scaling }: Rope, headDim: number): Float64Array =>
  Float64Array.from(divisorsOf(scaling ?? { kind: 'default' }, theta, headDim))

/** Radians that pair i turns per position, for each i below headDim / 2: theta^(-2 i / headDim), scaled. */
export const ropeFrequencies = (rope: Rope, headDim: number): Float64Array =>
  ropeDivisors(rope, headDim).map((divisor, i) => rope.theta ** ((-2 * i) / headDim) / divisor)
