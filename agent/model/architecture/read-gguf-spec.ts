/** What a model computes, read from the metadata of a GGUF file by the same rows that read config.json. */
import { MeshError } from '../../../shared/errors.ts'
import { GgufList, type GgufMetadata } from '../gguf/metadata.ts'
import { type Json, shown } from '../json.ts'
import { caps, configValues } from './config-values.ts'
import { families } from './families.ts'
import type { Family, GgufFacts } from './family.ts'
import { ropeFactors } from './gguf-rope.ts'
import type { ModelSpec } from './model-spec.ts'
import { specOf } from './read-spec.ts'
import type { StoredTensor } from './tensor-roles.ts'

export interface GgufContent {
  /** For messages. */
  readonly file: string
  readonly metadata: GgufMetadata
  readonly tensors: ReadonlyMap<string, StoredTensor>
}

/** Keys behind the architecture, and what config.json calls them. Null: they change nothing, or are read below. */
const usualKeys: Readonly<Record<string, string | null>> = {
  context_length: 'max_position_embeddings',
  embedding_length: 'hidden_size',
  block_count: 'num_hidden_layers',
  feed_forward_length: 'intermediate_size',
  'attention.head_count': 'num_attention_heads',
  'attention.head_count_kv': 'num_key_value_heads',
  'attention.key_length': 'head_dim',
  'attention.layer_norm_rms_epsilon': 'rms_norm_eps',
  'attention.layer_norm_epsilon': 'layer_norm_eps',
  'rope.freq_base': 'rope_theta',
  'attention.value_length': null,
  'rope.dimension_count': null,
  'rope.scaling.type': null,
  'rope.scaling.factor': null,
  'rope.scaling.original_context_length': null,
  'rope.scaling.attn_factor': null,
  'rope.scaling.finetuned': null,
  'rope.scaling.yarn_log_multiplier': null,
  'rope.scaling.yarn_beta_fast': null,
  'rope.scaling.yarn_beta_slow': null,
  'rope.scaling.yarn_ext_factor': null,
  'rope.scaling.yarn_attn_factor': null,
  vocab_size: null,
  tensor_data_layout: null,
}

/** What every architecture takes for what a file does not say. */
const usualDefaults: Json = { hidden_act: 'silu', hidden_activation: 'gelu_pytorch_tanh', rope_theta: 10_000 }

const invalid = (file: string, problem: string): MeshError => new MeshError('modelConfigInvalid', { file, problem })

/** Values for each layer are lists; longer ones than there may be layers are those of a damaged file. */
const plain = (file: string, key: string, value: unknown): unknown => {
  if (!(value instanceof GgufList)) return value
  if (value.length <= caps.layers) return [...value]
  throw invalid(file, `${key} is a list of ${value.length}, ${caps.layers} is the most`)
}

/** A value for each layer, where all are the same. */
const single = (file: string, key: string, value: unknown): unknown => {
  if (!Array.isArray(value) || value.length === 0 || typeof value[0] === 'boolean') return value
  if (value.every((one) => one === value[0])) return value[0]
  throw invalid(file, `${key} is ${shown(value)}; layers of different sizes are not supported`)
}

/** The converter writes a tenth of it; both are alike in all published models. */
const mscales = (tenth: unknown): Json =>
  typeof tenth === 'number' && tenth > 0 ? { mscale: tenth * 10, mscale_all_dim: tenth * 10 } : {}

const ropeScaling = ({ value }: GgufFacts, truncate: unknown): Json | undefined => {
  const type = value('rope.scaling.type')
  const factor = value('rope.scaling.factor')
  const original = value('rope.scaling.original_context_length')
  if (type === undefined || type === 'none') return undefined
  if (type === 'linear') return factor === 0 || factor === undefined ? undefined : { rope_type: 'linear', factor }
  return {
    rope_type: type,
    factor,
    original_max_position_embeddings: original,
    ...(truncate === false && { truncate }),
    beta_fast: value('rope.scaling.yarn_beta_fast'),
    beta_slow: value('rope.scaling.yarn_beta_slow'),
    ...mscales(value('rope.scaling.yarn_log_multiplier')),
  }
}

/** Elements of the head that turn, as a part of it. */
const partialOf = ({ value }: GgufFacts, config: Json): Json => {
  const dims = value('rope.dimension_count')
  const headDim = config.head_dim ?? Number(config.hidden_size) / Number(config.num_attention_heads)
  return dims === undefined || dims === headDim ? {} : { partial_rotary_factor: Number(dims) / Number(headDim) }
}

const rowOf = (file: string, architecture: unknown, facts: GgufFacts): Family => {
  const rows = families.filter(({ gguf }) => gguf?.architecture === architecture)
  const row = rows.find(({ gguf }) => gguf?.when?.(facts) ?? true)
  if (row) return row
  const supported = families.flatMap(({ gguf }) => (gguf ? [gguf.architecture] : []))
  if (typeof architecture !== 'string') throw invalid(file, 'it has no general.architecture')
  throw new MeshError('architectureUnsupported', {
    architecture: architecture.slice(0, 100),
    supported: [...new Set(supported)].join(', '),
  })
}

const configOf = ({ file, metadata, tensors }: GgufContent, { gguf }: Family, facts: GgufFacts): Json => {
  const prefix = `${String(metadata.get('general.architecture'))}.`
  const keys: Readonly<Record<string, string | null>> = {
    ...usualKeys,
    ...(gguf?.draftBlocks && { nextn_predict_layers: null }),
    ...gguf?.keys,
  }
  const said: Record<string, unknown> = {}
  for (const name of metadata.keys()) {
    if (/^(adapter|clip)\./.test(name)) throw invalid(file, `it holds no text model, but ${name}`)
    if (!name.startsWith(prefix)) continue
    const key = name.slice(prefix.length)
    const value = plain(file, name, metadata.get(name))
    if (!Object.hasOwn(keys, key))
      throw invalid(file, `${name} is ${shown(value)}; this key is not known here, and may change the text`)
    const ours = keys[key]
    if (ours === 'scoring_func') said[ours] = value === 2 ? 'sigmoid' : 'softmax'
    else if (ours !== null) said[ours] = single(file, name, value)
  }
  const implied = gguf?.implied?.(facts) ?? {}
  const embedding = tensors.get('token_embd.weight')?.dims[0]
  const drafts = gguf?.draftBlocks ? (facts.value('nextn_predict_layers') ?? 0) : 0
  said.num_hidden_layers = Number(said.num_hidden_layers) - Number(drafts)
  const config = {
    ...usualDefaults,
    tie_word_embeddings: !tensors.has('output.weight'),
    rope_scaling: ropeScaling(facts, implied.rope_truncate),
    ...ropeFactors(facts),
    ...implied,
    ...said,
    vocab_size: embedding,
  }
  return { ...config, ...partialOf(facts, config) }
}

/**
 * Reads what the file says about the model.
 * @throws MeshError `architectureUnsupported` | `modelConfigInvalid` naming key and value of what is not understood
 */
export const readGgufSpec = (content: GgufContent): { readonly spec: ModelSpec; readonly family: Family } => {
  const { file, metadata, tensors } = content
  const architecture = metadata.get('general.architecture')
  const facts: GgufFacts = { value: (key) => plain(file, key, metadata.get(`${String(architecture)}.${key}`)), tensors }
  const family = rowOf(file, architecture, facts)
  const config = configOf(content, family, facts)
  const inverse = new Map(Object.entries({ ...usualKeys, ...family.gguf?.keys }).map(([name, key]) => [key, name]))
  const nameOf = (key: string): string => (inverse.has(key) ? `${String(architecture)}.${inverse.get(key)}` : key)
  return { spec: specOf(family, configValues(file, config, {}, nameOf)), family }
}
