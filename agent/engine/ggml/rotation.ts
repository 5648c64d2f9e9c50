/**
 * Rotations as ggml's rope operation takes them: pair i turns by base^(-2 i / span) / divisor i radians a position.
 * Base and divisors are found from the frequencies, so every kind of scaling is the same to the graphs.
 */
import type { RopeSpec } from '../../model/architecture/model-spec.ts'

/** Divides what shall stand still: no position turns it by more than 2^-53. */
const still = 1e30
/** Relative difference below which a divisor is that of rounding. */
const roundingError = 1e-12
const anyBase = 10_000

export interface Rotation {
  readonly base: number
  /** f32 [span / 2]; absent where all are one. */
  readonly divisors: Float32Array | undefined
}

/** The base that explains the first two frequencies: of most models it explains the others too. */
const baseOf = ({ frequencies: [first, second], span }: RopeSpec): number => {
  const base = (second / first) ** (-span / 2)
  return second > 0 && Number.isFinite(base) && base >= 1 ? base : anyBase
}

const known = new WeakMap<RopeSpec, Rotation>()

/** What the rotation of each pair is divided by; found once for each rope, as graphs of every layer ask for it. */
const rotationOf = (rope: RopeSpec): Rotation => {
  const found = known.get(rope) ?? findRotation(rope)
  known.set(rope, found)
  return found
}

const findRotation = (rope: RopeSpec): Rotation => {
  const { frequencies, span } = rope
  const base = baseOf(rope)
  // as f32: that is what the operation takes
  const rounded = Math.abs(Math.round(base) - base) < base * roundingError ? Math.round(base) : Math.fround(base)
  const divisors = Float64Array.from({ length: span / 2 }, (_, i) =>
    frequencies[i] > 0 ? rounded ** ((-2 * i) / span) / frequencies[i] : still,
  )
  const isPlain = divisors.every((divisor) => Math.abs(divisor - 1) < roundingError)
  return { base: rounded, divisors: isPlain ? undefined : Float32Array.from(divisors) }
}

/** Mode of the operation. */
export const pairingModes = { interleaved: 0, half: 2 } as const

const longOnes = new WeakMap<RopeSpec, RopeSpec>()

/** The rotation of sequences that may grow beyond the first context; the usual one where there is no other. */
const longOf = (rope: RopeSpec): RopeSpec => {
  if (!rope.long) return rope
  const found = longOnes.get(rope) ?? { ...rope, frequencies: rope.long.frequencies }
  longOnes.set(rope, found)
  return found
}

/** Decided once for each sequence, by the most positions that it may reach. */
export type RotationVariant = 'usual' | 'long'

/** @param planned positions that the sequence may reach */
export const variantOf = ({ long }: RopeSpec, planned: number): RotationVariant =>
  long && planned > long.beyond ? 'long' : 'usual'

export const variantsOf = ({ long }: RopeSpec): RotationVariant[] => (long ? ['usual', 'long'] : ['usual'])

export const rotationIn = (rope: RopeSpec, variant: RotationVariant): Rotation =>
  rotationOf(variant === 'long' ? longOf(rope) : rope)

/** Under which name the divisors of a rotation lie among the weights; the same for equal rotations. */
export const divisorsName = (kind: number, variant: RotationVariant): string => `rope.${kind}.${variant}.divisors`
