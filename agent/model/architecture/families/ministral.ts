/** Ministral 3 of Mistral AI: queries grow with the position beyond the first context. */
import type { ConfigValues } from '../config-values.ts'
import type { Family } from '../family.ts'
import type { AttentionSpec } from '../model-spec.ts'
import { permuted } from '../names.ts'
import { attention, dense, windowEverywhere } from '../parts.ts'

/** Keys of its dict of rope that are about something else. */
const otherKeys = ['llama_4_scaling_beta', 'max_position_embeddings']

/** What stands in the dict of rope; GGUF files have it elsewhere. */
const ropeValue = (values: ConfigValues, key: string): unknown =>
  values.dict('rope_parameters')?.[key] ?? values.dict('rope_scaling')?.[key] ?? values.raw(key) ?? undefined

const temperature = (values: ConfigValues): Partial<AttentionSpec> => {
  const coefficient = ropeValue(values, 'llama_4_scaling_beta')
  if (coefficient === undefined || coefficient === 0) return {}
  const floor = ropeValue(values, 'original_max_position_embeddings')
  if (typeof coefficient !== 'number' || !(coefficient > 0 && coefficient < 100))
    return values.refuse('rope_parameters', 'llama_4_scaling_beta must be a number above 0')
  if (typeof floor !== 'number' || !(Number.isInteger(floor) && floor > 0))
    return values.refuse('rope_parameters', 'llama_4_scaling_beta needs original_max_position_embeddings')
  return { temperature: { floor, coefficient, offset: 0 } }
}

export const ministral3: Family = {
  name: 'Ministral 3',
  models: 'Ministral 3 3B, 8B, 14B; GGUF files of Mistral Small 3.1 and later',
  classes: ['Ministral3ForCausalLM'],
  modelTypes: ['ministral3'],
  wrappers: ['Mistral3ForConditionalGeneration'],
  reads: 'sliding_window',
  defaults: {
    vocab_size: 131_072,
    hidden_size: 4096,
    intermediate_size: 14_336,
    num_hidden_layers: 34,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: 128,
    hidden_act: 'silu',
    max_position_embeddings: 262_144,
    rms_norm_eps: 1e-5,
    rope_theta: 1_000_000,
    rope_parameters: {
      rope_type: 'yarn',
      rope_theta: 1_000_000,
      factor: 16,
      original_max_position_embeddings: 16_384,
      beta_fast: 32,
      beta_slow: 1,
      mscale: 1,
      mscale_all_dim: 1,
      llama_4_scaling_beta: 0.1,
    },
  },
  layer: (values) => ({
    block: 'pre',
    mixer: attention(values, {
      mask: windowEverywhere(values),
      rope: { otherKeys },
      extra: temperature(values),
    }),
    feedForward: dense(values),
  }),
  gguf: {
    architecture: 'mistral3',
    keys: { 'attention.temperature_scale': 'llama_4_scaling_beta' },
    names: permuted,
  },
}
