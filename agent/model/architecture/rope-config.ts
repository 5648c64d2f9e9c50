/**
 * How positions turn, as config.json describes it. Two spellings: transformers 5 has one dict `rope_parameters`, or one
 * for each kind of layer; before there were `rope_theta`, `rope_scaling` and keys of single families.
 */
import { isJson, type Json, shown } from '../json.ts'
import type { ConfigValues } from './config-values.ts'
import type { Llama3Scaling, LongScaling, RopeScaling, YarnScaling } from './rope-frequencies.ts'

export interface RopeConfig {
  readonly theta: number
  readonly scaling: RopeScaling
  /** Elements of the head that turn. */
  readonly dims: number
}

export interface RopeWanted {
  /** Elements of the head; what of it turns follows from the file. */
  readonly headDim: number
  /** Which of the dicts of `rope_parameters`, where there is one for each kind of layer. */
  readonly layerKind?: string
  /** Where the old spelling has another theta for this kind of layer, and no scaling of it: its key. */
  readonly ownTheta?: string
  /** Scaling is for other kinds of layers. */
  readonly unscaled?: boolean
  /** Elements of the head that turn, where a key of the family says so. */
  readonly dims?: number
  /** The family may turn a part of the head only. */
  readonly partial?: boolean
  /** Names of `rope_type` that mean longrope in this family. */
  readonly longNames?: readonly string[]
  /** Keys of the dict that the family reads for something else. */
  readonly otherKeys?: readonly string[]
}

const layerKinds = ['full_attention', 'sliding_attention', 'chunked_attention', 'linear_attention']
const isPositive = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value) && value > 0

/** Same values under the same keys; `type` is the old name of `rope_type`, and null says nothing. */
const canonical = (dict: Json): string => {
  const { type, ...rest } = dict
  const entries = Object.entries({ ...rest, rope_theta: undefined, rope_type: rest.rope_type ?? type })
  const said = entries.filter(([, value]) => value !== null && value !== undefined)
  return JSON.stringify(said.toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

interface NamedDict {
  readonly name: string
  readonly dict: Json
}

/** The one dict that counts, and under which name it stands in the file. */
const dictOf = (values: ConfigValues, { layerKind, ownTheta }: RopeWanted): NamedDict => {
  const parameters = dictAt(values, 'rope_parameters')
  const old = parameters && values.said('rope_scaling') === undefined ? undefined : dictAt(values, 'rope_scaling')
  if (parameters && Object.keys(parameters).some((key) => layerKinds.includes(key))) {
    const own = layerKind === undefined ? undefined : parameters[layerKind]
    if (layerKind === undefined || !isJson(own) || !Object.keys(parameters).every((key) => layerKinds.includes(key)))
      return values.refuse('rope_parameters', `supported is ${layerKind ? `a dict for ${layerKind}` : 'one dict'}`)
    return { name: `rope_parameters.${layerKind}`, dict: own }
  }
  if (ownTheta !== undefined) return { name: ownTheta, dict: { rope_theta: values.raw(ownTheta) } }
  if (!parameters) return { name: 'rope_scaling', dict: old ?? {} }
  if (old && canonical(old) !== canonical(parameters))
    return values.refuse('rope_scaling', `it contradicts rope_parameters ${shown(parameters)}`)
  return { name: 'rope_parameters', dict: parameters }
}

const dictAt = (values: ConfigValues, key: string): Json | undefined => {
  const value = values.raw(key)
  if (value === undefined || isJson(value)) return value
  return values.refuse(key, 'it is not supported: it must be an object')
}

const thetaOf = (values: ConfigValues, { name, dict }: NamedDict, ownTheta: boolean): number => {
  const inside = dict.rope_theta ?? undefined
  const outside = ownTheta ? undefined : values.said('rope_theta')
  const problem = 'it must be above 0'
  if (inside !== undefined && !isPositive(inside))
    return values.refuse(name, `rope_theta is ${shown(inside)}, ${problem}`)
  if (outside !== undefined && !isPositive(outside)) return values.refuse('rope_theta', problem)
  if (inside !== undefined && outside !== undefined && inside !== outside)
    return values.refuse('rope_theta', `but ${inside} in ${name}: one of them is wrong`)
  return inside ?? outside ?? values.positive('rope_theta')
}

/** Reads numbers of one dict. */
const numbersOf = (values: ConfigValues, { name, dict }: NamedDict) => {
  const top = name.split('.')[0]
  const refuse = (key: string, problem: string): never =>
    values.refuse(top, `${name}.${key} is ${shown(dict[key])}, ${problem}`)
  const optional = (key: string): number | undefined => {
    const value = dict[key] ?? undefined
    if (value === undefined || isPositive(value)) return value
    return refuse(key, 'it must be a number above 0')
  }
  return {
    refuse,
    optional,
    needed: (key: string): number => optional(key) ?? refuse(key, `${shown(kindIn(dict))} scaling needs it`),
    original: (): number | undefined => {
      const value = optional('original_max_position_embeddings')
      return value ?? values.optional('original_max_position_embeddings', values.positive)
    },
    factors: (key: string, length: number): readonly number[] => {
      const list = dict[key]
      if (Array.isArray(list) && list.length === length && list.every(isPositive)) return list
      return refuse(key, `it must be a list of ${length} numbers above 0`)
    },
  }
}
type Numbers = ReturnType<typeof numbersOf>

const kindIn = (dict: Json): unknown => dict.rope_type ?? dict.type

const readLlama3 = (_: ConfigValues, of: Numbers): Llama3Scaling => {
  const scaling: Llama3Scaling = {
    kind: 'llama3',
    factor: of.needed('factor'),
    lowFrequencyFactor: of.needed('low_freq_factor'),
    highFrequencyFactor: of.needed('high_freq_factor'),
    originalContext: of.original() ?? of.needed('original_max_position_embeddings'),
  }
  if (scaling.factor < 1) return of.refuse('factor', 'it must be at least 1')
  if (scaling.lowFrequencyFactor >= scaling.highFrequencyFactor)
    return of.refuse('low_freq_factor', 'low_freq_factor must be below high_freq_factor')
  return scaling
}

const readLinear = (_: ConfigValues, of: Numbers): RopeScaling => ({ kind: 'linear', factor: of.needed('factor') })

const readYarn = (values: ConfigValues, of: Numbers, dict: Json): YarnScaling => {
  const factor = of.needed('factor')
  if (factor < 1) return of.refuse('factor', 'it must be at least 1')
  if (![undefined, null, true, false].includes(dict.truncate as boolean))
    return of.refuse('truncate', 'it must be true or false')
  const mscale = of.optional('mscale')
  const mscaleAllDim = of.optional('mscale_all_dim')
  const ofMscale = (m: number): number => (factor <= 1 ? 1 : 0.1 * m * Math.log(factor) + 1)
  const implied = mscale && mscaleAllDim ? ofMscale(mscale) / ofMscale(mscaleAllDim) : ofMscale(1)
  return {
    kind: 'yarn',
    factor,
    originalContext: of.original() ?? values.context,
    betaFast: of.optional('beta_fast') ?? 32,
    betaSlow: of.optional('beta_slow') ?? 1,
    truncate: dict.truncate !== false,
    magnitude: of.optional('attention_factor') ?? implied,
    mscaleAllDim: mscaleAllDim ?? 0,
  }
}

const readLong = (values: ConfigValues, of: Numbers, _: Json, dims: number): LongScaling => {
  const originalContext = of.original() ?? of.needed('original_max_position_embeddings')
  const factor = of.optional('factor') ?? values.context / originalContext
  const implied = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalContext))
  return {
    kind: 'longrope',
    short: of.factors('short_factor', dims / 2),
    long: of.factors('long_factor', dims / 2),
    originalContext,
    magnitude: of.optional('attention_factor') ?? implied,
  }
}

interface Kind {
  /** Keys that it uses; all others in its dict change something that is not computed here. */
  readonly keys: readonly string[]
  readonly read: (values: ConfigValues, of: Numbers, dict: Json, dims: number) => RopeScaling
}

const original = 'original_max_position_embeddings'
const kinds: Readonly<Record<string, Kind>> = {
  default: { keys: [], read: () => ({ kind: 'default' }) },
  linear: { keys: ['factor'], read: readLinear },
  llama3: { keys: ['factor', 'low_freq_factor', 'high_freq_factor', original], read: readLlama3 },
  yarn: {
    keys: ['factor', original, 'beta_fast', 'beta_slow', 'truncate', 'attention_factor', 'mscale', 'mscale_all_dim'],
    read: readYarn,
  },
  longrope: { keys: ['short_factor', 'long_factor', original, 'factor', 'attention_factor'], read: readLong },
}

const kindOf = (values: ConfigValues, { name, dict }: NamedDict, longNames: readonly string[]): string => {
  const { type, rope_type: named } = dict
  const top = name.split('.')[0]
  if (type !== undefined && named !== undefined && type !== named) return values.refuse(top, 'it names two types')
  const rest = Object.entries(dict).filter(([key]) => !['rope_theta', 'partial_rotary_factor'].includes(key))
  const said = named ?? type ?? (rest.every(([, value]) => value === null) ? 'default' : undefined)
  const kind = typeof said === 'string' && longNames.includes(said) ? 'longrope' : said
  if (typeof kind === 'string' && Object.hasOwn(kinds, kind)) return kind
  return values.refuse(top, `it is not supported; supported types: ${Object.keys(kinds).join(', ')}`)
}

/** A value that says "as without this key". */
const isNeutral = (key: string, value: unknown): boolean =>
  value === null || value === undefined || (key === 'attention_factor' && value === 1)

/** Sections of positions in images and videos: those of text are alike in all, so that it is a plain rope. */
const ofImages = ['mrope_section', 'mrope_interleaved']

/**
 * How positions turn in one kind of layer.
 * @throws MeshError `modelConfigInvalid` naming key and value of what is contradictory, or not computed here
 */
export const readRope = (values: ConfigValues, wanted: RopeWanted): RopeConfig => {
  const named = dictOf(values, wanted)
  const { name, dict } = named
  const kind = kindOf(values, named, wanted.longNames ?? [])
  const partial = partialOf(values, named, wanted)
  for (const [key, value] of Object.entries(dict)) {
    if (['type', 'rope_type', 'rope_theta', 'partial_rotary_factor', ...kinds[kind].keys].includes(key)) continue
    if (isNeutral(key, value) || (wanted.partial && ofImages.includes(key))) continue
    if (wanted.otherKeys?.includes(key)) continue
    return values.refuse(name.split('.')[0], `${name}.${key} is ${shown(value)}, which is not known for type ${kind}`)
  }
  const dims = wanted.dims ?? Math.floor(wanted.headDim * partial)
  if (dims < 2 || dims % 2 !== 0 || dims > wanted.headDim)
    return values.refuse('head_dim', `of ${wanted.headDim} elements ${dims} would turn: it must be an even number`)
  const theta = thetaOf(values, named, wanted.ownTheta === name)
  const divisors = values.said('rope_factors')
  const scaling: RopeScaling = Array.isArray(divisors)
    ? { kind: 'factors', divisors: values.list('rope_factors', dims / 2, isPositive, 'a number above 0') }
    : kinds[kind].read(values, numbersOf(values, named), dict, dims)
  return { theta, scaling: wanted.unscaled ? { kind: 'default' } : scaling, dims }
}

const partialOf = (values: ConfigValues, { name, dict }: NamedDict, { partial }: RopeWanted): number => {
  const inside = dict.partial_rotary_factor ?? undefined
  const value = inside ?? (partial ? values.raw('partial_rotary_factor') : undefined) ?? 1
  if (isPositive(value) && value <= 1 && (partial || value === 1)) return value
  const key = inside === undefined ? 'partial_rotary_factor' : name.split('.')[0]
  return values.refuse(key, `partial_rotary_factor is ${shown(value)}, supported is ${partial ? 'above 0 to 1' : '1'}`)
}
