/**
 * Rotary position embedding (Su et al., 2021) as config.json describes it: read, checked, and turned into frequencies.
 * Two spellings: transformers 5 has one dict `rope_parameters`; before there were `rope_theta` and `rope_scaling`.
 */
import { isJson, type Json, shown } from './json.ts'

/** Llama 3.1 and later: long waves are slowed down, short ones kept, those between are mixed. */
export interface Llama3Scaling {
  readonly kind: 'llama3'
  readonly factor: number
  readonly lowFrequencyFactor: number
  readonly highFrequencyFactor: number
  /** Tokens that the model was first trained on. */
  readonly originalContext: number
}

export interface Rope {
  readonly theta: number
  /** Absent: frequencies as theta gives them. */
  readonly scaling?: Llama3Scaling
}

/** What of config.json says how positions turn. */
export interface RopeKeys {
  readonly rope_theta?: number | null
  readonly rope_scaling?: unknown
  readonly rope_parameters?: unknown
  readonly original_max_position_embeddings?: unknown
}

/** What a class of transformers takes when no file says it. */
const defaultTheta = 10_000

const isPositive = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value) && value > 0

/** Same values under the same keys; `type` is the old name of `rope_type`, and null says nothing. */
const canonical = (dict: Json): string => {
  const { type, ...rest } = dict
  const entries = Object.entries({ ...rest, rope_type: rest.rope_type ?? type })
  const said = entries.filter(([, value]) => value !== null && value !== undefined)
  return JSON.stringify(said.toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

const withoutTheta = (dict: Json): Json => ({ ...dict, rope_theta: undefined })

/** The one dict that counts, and under which name it stands in the file. @throws Error */
const dictOf = ({ rope_scaling: old, rope_parameters: parameters }: RopeKeys): { name: string; dict: Json } => {
  for (const [name, value] of Object.entries({ rope_scaling: old, rope_parameters: parameters })) {
    if (value === undefined || value === null || isJson(value)) continue
    throw new Error(`${name} ${shown(value)} is not supported`)
  }
  if (!isJson(parameters)) return { name: 'rope_scaling', dict: isJson(old) ? old : {} }
  if (isJson(old) && canonical(withoutTheta(old)) !== canonical(withoutTheta(parameters))) {
    throw new Error(`rope_scaling ${shown(old)} and rope_parameters ${shown(parameters)} contradict each other`)
  }
  return { name: 'rope_parameters', dict: parameters }
}

const thetaOf = (name: string, inside: unknown, outside: unknown): number => {
  for (const [key, value] of [
    [`${name}.rope_theta`, inside],
    ['rope_theta', outside],
  ] as const) {
    if (value === undefined || value === null || isPositive(value)) continue
    throw new Error(`${key} is ${shown(value)}, it must be above 0`)
  }
  if (isPositive(inside) && isPositive(outside) && inside !== outside) {
    throw new Error(`rope_theta is ${outside}, but ${inside} in ${name}: one of them is wrong`)
  }
  return (inside ?? outside ?? defaultTheta) as number
}

const llama3Of = (name: string, dict: Json, outside: unknown): Llama3Scaling => {
  const read = (key: string, value: unknown = dict[key]): number => {
    if (!isPositive(value)) throw new Error(`${name}.${key} is ${shown(value)}, llama3 scaling needs a number above 0`)
    return value
  }
  const scaling: Llama3Scaling = {
    kind: 'llama3',
    factor: read('factor'),
    lowFrequencyFactor: read('low_freq_factor'),
    highFrequencyFactor: read('high_freq_factor'),
    originalContext: read('original_max_position_embeddings', dict.original_max_position_embeddings ?? outside),
  }
  if (scaling.factor < 1) throw new Error(`${name}.factor is ${scaling.factor}, it must be at least 1`)
  if (scaling.lowFrequencyFactor >= scaling.highFrequencyFactor) {
    throw new Error(`${name}.low_freq_factor must be below high_freq_factor, got ${shown(dict)}`)
  }
  return scaling
}

/** Keys that a kind of scaling uses; all others in its dict change something that is not computed here. */
const keysOf: Readonly<Record<string, readonly string[]>> = {
  default: [],
  llama3: ['factor', 'low_freq_factor', 'high_freq_factor', 'original_max_position_embeddings'],
}

/** A value that says "as without this key". */
const isNeutral = (key: string, value: unknown): boolean =>
  value === null || (['partial_rotary_factor', 'attention_factor'].includes(key) && value === 1)

/**
 * How positions turn, from either spelling of config.json.
 * @throws Error naming key and value of what is contradictory, or not computed here
 */
export const readRope = (keys: RopeKeys): Rope => {
  const { name, dict } = dictOf(keys)
  const { type, rope_type: named, rope_theta: inside, ...rest } = dict
  if (type !== undefined && named !== undefined && type !== named)
    throw new Error(`${name} ${shown(dict)} names two types`)
  const kind = named ?? type ?? (Object.values(rest).every((value) => value === null) ? 'default' : undefined)
  const used = typeof kind === 'string' && Object.hasOwn(keysOf, kind) ? keysOf[kind] : undefined
  if (!used)
    throw new Error(`${name} ${shown(dict)} is not supported; supported types: ${Object.keys(keysOf).join(', ')}`)
  for (const [key, value] of Object.entries(rest)) {
    if (used.includes(key) || isNeutral(key, value)) continue
    throw new Error(`${name}.${key} is ${shown(value)}, which is not known for type ${String(kind)}`)
  }
  const theta = thetaOf(name, inside, keys.rope_theta)
  return kind === 'llama3' ? { theta, scaling: llama3Of(name, rest, keys.original_max_position_embeddings) } : { theta }
}

/** What the frequency of pair i is divided by, for each i below headDim / 2. */
export const ropeDivisors = ({ theta, scaling }: Rope, headDim: number): Float64Array =>
  Float64Array.from({ length: headDim / 2 }, (_, i) => {
    if (!scaling) return 1
    const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalContext } = scaling
    const wavelength = 2 * Math.PI * theta ** ((2 * i) / headDim)
    if (wavelength < originalContext / high) return 1
    if (wavelength > originalContext / low) return factor
    const kept = (originalContext / wavelength - low) / (high - low)
    return 1 / ((1 - kept) / factor + kept)
  })

/** Radians that pair i turns per position, for each i below headDim / 2: theta^(-2 i / headDim), scaled. */
export const ropeFrequencies = (rope: Rope, headDim: number): Float64Array =>
  ropeDivisors(rope, headDim).map((divisor, i) => rope.theta ** ((-2 * i) / headDim) / divisor)
