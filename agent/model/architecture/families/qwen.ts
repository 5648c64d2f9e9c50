/** Qwen 2, 2.5 and 3, dense and with experts. */
import type { ConfigValues } from '../config-values.ts'
import type { Family } from '../family.ts'
import type { MaskSpec } from '../model-spec.ts'
import { attention, bySum, dense, experts, headNorm, layerKind, maskOf } from '../parts.ts'

const windowKeys = 'use_sliding_window sliding_window max_window_layers layer_types'

/** Layers from `max_window_layers` on slide, and only where the window is on. */
const mask = (values: ConfigValues, index: number): MaskSpec => {
  const slides = values.flag('use_sliding_window') && values.has('sliding_window')
  const kind = layerKind(values, index, (layer) =>
    slides && layer >= values.integer('max_window_layers', 0, 1024) ? 'sliding_attention' : 'full_attention',
  )
  if (kind === 'sliding_attention' && !slides)
    return values.refuse('layer_types', 'use_sliding_window is false: they contradict each other')
  return maskOf(values, kind)
}

const defaults = {
  vocab_size: 151_936,
  hidden_size: 4096,
  intermediate_size: 22_016,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 32,
  hidden_act: 'silu',
  max_position_embeddings: 32_768,
  rms_norm_eps: 1e-6,
  rope_theta: 10_000,
  sliding_window: 4096,
  max_window_layers: 28,
}

export const qwen2: Family = {
  name: 'Qwen2',
  models: 'Qwen2, Qwen2.5, QwQ; Coder and Math; DeepSeek R1 distills',
  classes: ['Qwen2ForCausalLM'],
  modelTypes: ['qwen2'],
  reads: windowKeys,
  harmless: { use_mrope: [false] },
  defaults,
  layer: (values, index) => ({
    block: 'pre',
    mixer: attention(values, { bias: { qkv: true, o: false }, mask: mask(values, index) }),
    feedForward: dense(values),
  }),
  gguf: { architecture: 'qwen2' },
}

export const qwen3: Family = {
  name: 'Qwen3',
  models: 'Qwen3 0.6B to 32B',
  classes: ['Qwen3ForCausalLM'],
  modelTypes: ['qwen3'],
  reads: `attention_bias ${windowKeys}`,
  defaults: { ...defaults, head_dim: 128 },
  layer: (values, index) => ({
    block: 'pre',
    mixer: attention(values, {
      bias: { qkv: values.flag('attention_bias'), o: values.flag('attention_bias') },
      qkNorm: headNorm,
      mask: mask(values, index),
    }),
    feedForward: dense(values),
  }),
  gguf: { architecture: 'qwen3' },
}

/** A layer has experts, but for those listed and where a step leaves layers out. */
const hasExperts = (values: ConfigValues, index: number): boolean => {
  const step = values.size('decoder_sparse_step', 1024)
  const listed = values.raw('mlp_only_layers') ?? []
  if (!Array.isArray(listed) || listed.length > values.layers || !listed.every(Number.isInteger))
    return values.refuse('mlp_only_layers', 'it must be a list of layers')
  return !listed.includes(index) && (index + 1) % step === 0
}

export const qwen3Moe: Family = {
  name: 'Qwen3-MoE',
  models: 'Qwen3 30B-A3B, 235B-A22B; Qwen3-Coder',
  classes: ['Qwen3MoeForCausalLM'],
  modelTypes: ['qwen3_moe'],
  reads: `attention_bias ${windowKeys} num_experts num_experts_per_tok moe_intermediate_size norm_topk_prob
    decoder_sparse_step mlp_only_layers`,
  harmless: { shared_expert_intermediate_size: [0] },
  defaults: {
    ...defaults,
    hidden_size: 2048,
    intermediate_size: 6144,
    num_hidden_layers: 24,
    num_key_value_heads: 4,
    decoder_sparse_step: 1,
    num_experts: 128,
    num_experts_per_tok: 8,
    moe_intermediate_size: 768,
    norm_topk_prob: false,
  },
  layer: (values, index) => ({
    block: 'pre',
    mixer: attention(values, {
      bias: { qkv: values.flag('attention_bias'), o: values.flag('attention_bias') },
      qkNorm: headNorm,
      mask: mask(values, index),
    }),
    feedForward: hasExperts(values, index)
      ? {
          activation: 'silu',
          gated: true,
          experts: experts(
            values,
            { count: 'num_experts', ffn: 'moe_intermediate_size' },
            values.flag('norm_topk_prob') ? { renormalise: bySum } : {},
          ),
        }
      : dense(values),
  }),
  gguf: {
    architecture: 'qwen3moe',
    keys: {
      expert_count: 'num_experts',
      expert_used_count: 'num_experts_per_tok',
      expert_feed_forward_length: 'moe_intermediate_size',
    },
    implied: () => ({ norm_topk_prob: true, decoder_sparse_step: 1 }),
  },
}
