/** Frequencies of rotary position embedding (Su et al., 2021), with each kind of scaling that families use. */

/** What scales the frequencies of a rope: the names are those of `rope_type`. */
export type RopeScaling =
  | { readonly kind: 'default' }
  | { readonly kind: 'linear'; readonly factor: number }
  | Llama3Scaling
  | YarnScaling
  | LongScaling
  | { readonly kind: 'factors'; readonly divisors: readonly number[] }

/** Llama 3.1 and later: long waves are slowed down, short ones kept, those between are mixed. */
export interface Llama3Scaling {
  readonly kind: 'llama3'
  readonly factor: number
  readonly lowFrequencyFactor: number
  readonly highFrequencyFactor: number
  /** Tokens that the model was first trained on. */
  readonly originalContext: number
}

/** YaRN (Peng et al., 2023). */
export interface YarnScaling {
  readonly kind: 'yarn'
  readonly factor: number
  readonly originalContext: number
  readonly betaFast: number
  readonly betaSlow: number
  /** Whether the ends of the ramp are whole numbers. */
  readonly truncate: boolean
  readonly magnitude: number
  /** Enters the scale of scores in DeepSeek's models. */
  readonly mscaleAllDim: number
}

/** LongRoPE (Ding et al., 2024): divisors of each frequency up to the original context, and beyond it. */
export interface LongScaling {
  readonly kind: 'longrope'
  readonly short: readonly number[]
  readonly long: readonly number[]
  readonly originalContext: number
  readonly magnitude: number
}

/** Radians per position of pair i of `dims` elements: theta^(-2 i / dims). */
export const plainFrequencies = (theta: number, dims: number): number[] =>
  Array.from({ length: dims / 2 }, (_, i) => theta ** ((-2 * i) / dims))

const llama3Divisor = (scaling: Llama3Scaling, frequency: number): number => {
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalContext } = scaling
  const wavelength = (2 * Math.PI) / frequency
  if (wavelength < originalContext / high) return 1
  if (wavelength > originalContext / low) return factor
  const kept = (originalContext / wavelength - low) / (high - low)
  return 1 / ((1 - kept) / factor + kept)
}

/** How much of pair i is interpolated: 0 for pairs that turn often in the original context, 1 for those that do not. */
const yarnRamp = (scaling: YarnScaling, theta: number, dims: number): ((pair: number) => number) => {
  const { originalContext, betaFast, betaSlow, truncate } = scaling
  const pairOf = (turns: number): number =>
    (dims * Math.log(originalContext / (turns * 2 * Math.PI))) / (2 * Math.log(theta))
  const [from, to] = [pairOf(betaFast), pairOf(betaSlow)]
  const low = Math.max(truncate ? Math.floor(from) : from, 0)
  const high = Math.min(truncate ? Math.ceil(to) : to, dims - 1)
  const width = high === low ? 0.001 : high - low
  return (pair) => Math.min(1, Math.max(0, (pair - low) / width))
}

/** What the frequency of each pair is divided by. */
export const ropeDivisors = (scaling: RopeScaling, theta: number, dims: number): number[] => {
  const plain = plainFrequencies(theta, dims)
  switch (scaling.kind) {
    case 'default':
      return plain.map(() => 1)
    case 'linear':
      return plain.map(() => scaling.factor)
    case 'llama3':
      return plain.map((frequency) => llama3Divisor(scaling, frequency))
    case 'yarn': {
      const ramp = yarnRamp(scaling, theta, dims)
      return plain.map((_, i) => 1 / (1 - ramp(i) + ramp(i) / scaling.factor))
    }
    case 'longrope':
      return [...scaling.short]
    case 'factors':
      return [...scaling.divisors]
  }
}

export interface RopeFrequencies {
  readonly frequencies: readonly number[]
  readonly long?: { readonly beyond: number; readonly frequencies: readonly number[] }
  readonly magnitude: number
}

/** @param dims elements of the head that turn */
export const ropeFrequencies = (scaling: RopeScaling, theta: number, dims: number): RopeFrequencies => {
  const plain = plainFrequencies(theta, dims)
  const divided = (divisors: readonly number[]): number[] => plain.map((frequency, i) => frequency / divisors[i])
  return {
    frequencies: divided(ropeDivisors(scaling, theta, dims)),
    ...(scaling.kind === 'longrope' && {
      long: { beyond: scaling.originalContext, frequencies: divided(scaling.long) },
    }),
    magnitude: scaling.kind === 'yarn' || scaling.kind === 'longrope' ? scaling.magnitude : 1,
  }
}
