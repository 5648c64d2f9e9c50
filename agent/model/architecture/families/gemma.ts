/** Gemma 1 to 3, text. */
import { caps, type ConfigValues } from '../config-values.ts'
import type { Family, GgufFacts } from '../family.ts'
import { huggingFaceNames, plusOne, sandwichNames } from '../names.ts'
import { attention, dense, headNorm, layerKind, maskOf } from '../parts.ts'

/** Whichever of the two keys is there; the older one says "gelu" and means the approximation. */
const activation = (values: ConfigValues) => {
  for (const key of ['hidden_activation', 'hidden_act'])
    if (values.has(key)) values.oneOf(key, ['gelu_pytorch_tanh', ...(key === 'hidden_act' ? ['gelu'] : [])])
  return 'geluTanh' as const
}

/** sqrt(hidden), rounded to the type of the embedding as the makers' own program does. */
export const rootOfHidden = (values: ConfigValues): number => {
  const factor = Math.sqrt(values.hidden)
  const dtype = values.raw('dtype') ?? values.raw('torch_dtype')
  if (dtype === 'float16') return Math.f16round(factor)
  if (dtype !== 'bfloat16') return factor
  const bits = new Uint32Array(new Float32Array([factor]).buffer)[0]
  // to the nearest, ties to even
  const rounded = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000
  return new Float32Array(new Uint32Array([rounded]).buffer)[0]
}

const softcap = (values: ConfigValues, key: string) => {
  const value = values.optional(key, values.positive)
  return value === undefined ? {} : { softcap: value }
}

const defaults = {
  vocab_size: 256_000,
  hidden_size: 2304,
  intermediate_size: 9216,
  num_hidden_layers: 26,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 256,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-6,
  rope_theta: 10_000,
  tie_word_embeddings: true,
}

const sandwich = { ...sandwichNames, ...plusOne({ ...huggingFaceNames, ...sandwichNames }) }

const capKeys = {
  'attention.sliding_window': 'sliding_window',
  attn_logit_softcapping: 'attn_logit_softcapping',
  final_logit_softcapping: 'final_logit_softcapping',
}

/** Of every GGUF of Gemma. */
const gelu = { hidden_act: 'gelu_pytorch_tanh' }

/** Not in the file; llama.cpp knows the one size with another scale by its number of layers. */
const scalarOf = ({ value }: GgufFacts, layersOfLargest: number): unknown =>
  value('block_count') === layersOfLargest
    ? Number(value('embedding_length')) / Number(value('attention.head_count'))
    : value('attention.key_length')

export const gemma: Family = {
  name: 'Gemma',
  models: 'Gemma 1; CodeGemma',
  classes: ['GemmaForCausalLM'],
  modelTypes: ['gemma'],
  reads: 'hidden_act hidden_activation',
  defaults: {
    ...defaults,
    hidden_size: 3072,
    intermediate_size: 24_576,
    num_hidden_layers: 28,
    num_attention_heads: 16,
    num_key_value_heads: 16,
  },
  embeddingScale: rootOfHidden,
  layer: (values) => ({
    block: 'pre',
    mixer: attention(values),
    feedForward: dense(values, { activation: activation(values) }),
  }),
  names: plusOne(huggingFaceNames),
  gguf: { architecture: 'gemma', implied: () => gelu },
}

export const gemma2: Family = {
  name: 'Gemma 2',
  models: 'Gemma 2 2B, 9B, 27B',
  classes: ['Gemma2ForCausalLM'],
  modelTypes: ['gemma2'],
  reads: `hidden_act hidden_activation query_pre_attn_scalar sliding_window layer_types attn_logit_softcapping
    final_logit_softcapping`,
  harmless: {
    sliding_window_size: { says: 'the value of sliding_window', holds: (value, keys) => value === keys.sliding_window },
    use_bidirectional_attention: [false],
  },
  defaults: {
    ...defaults,
    query_pre_attn_scalar: 256,
    sliding_window: 4096,
    attn_logit_softcapping: 50,
    final_logit_softcapping: 30,
  },
  embeddingScale: rootOfHidden,
  logits: (values) => ({ scale: 1, ...softcap(values, 'final_logit_softcapping') }),
  layer: (values, index) => {
    const kind = layerKind(values, index, (layer) => (layer % 2 === 0 ? 'sliding_attention' : 'full_attention'))
    return {
      block: 'sandwich',
      mixer: attention(values, {
        mask: maskOf(values, kind),
        scale: values.positive('query_pre_attn_scalar') ** -0.5,
        extra: softcap(values, 'attn_logit_softcapping'),
      }),
      feedForward: dense(values, { activation: activation(values) }),
    }
  },
  names: sandwich,
  gguf: {
    architecture: 'gemma2',
    keys: capKeys,
    implied: (facts) => ({ ...gelu, query_pre_attn_scalar: scalarOf(facts, 46) }),
  },
}

export const gemma3: Family = {
  name: 'Gemma 3',
  models: 'Gemma 3 270M to 27B, text; MedGemma',
  classes: ['Gemma3ForCausalLM', 'Gemma3TextModel'],
  modelTypes: ['gemma3_text'],
  wrappers: ['Gemma3ForConditionalGeneration'],
  reads: `hidden_act hidden_activation query_pre_attn_scalar sliding_window sliding_window_pattern _sliding_window_pattern
    layer_types rope_local_base_freq final_logit_softcapping`,
  harmless: { use_bidirectional_attention: [false] },
  defaults: {
    ...defaults,
    vocab_size: 262_208,
    max_position_embeddings: 131_072,
    query_pre_attn_scalar: 256,
    sliding_window: 4096,
    rope_theta: 1_000_000,
    rope_local_base_freq: 10_000,
  },
  embeddingScale: rootOfHidden,
  logits: (values) => ({ scale: 1, ...softcap(values, 'final_logit_softcapping') }),
  layer: (values, index) => {
    const pattern = ['sliding_window_pattern', '_sliding_window_pattern'].find((key) => values.has(key))
    const every = pattern === undefined ? 6 : values.size(pattern, caps.layers)
    const kind = layerKind(values, index, (layer) =>
      (layer + 1) % every === 0 ? 'full_attention' : 'sliding_attention',
    )
    const slides = kind === 'sliding_attention'
    return {
      block: 'sandwich',
      mixer: attention(values, {
        qkNorm: headNorm,
        mask: maskOf(values, kind),
        scale: values.positive('query_pre_attn_scalar') ** -0.5,
        rope: { layerKind: kind, ...(slides && { ownTheta: 'rope_local_base_freq' }) },
      }),
      feedForward: dense(values, { activation: activation(values) }),
    }
  },
  names: sandwich,
  gguf: {
    architecture: 'gemma3',
    keys: {
      ...capKeys,
      'attention.sliding_window_pattern': 'sliding_window_pattern',
      'rope.freq_base_swa': 'rope_local_base_freq',
    },
    implied: (facts) => ({
      ...gelu,
      query_pre_attn_scalar: scalarOf(facts, 62),
      sliding_window_pattern: 6,
      rope_local_base_freq: 10_000,
      rope_theta: 1_000_000,
    }),
  },
}
