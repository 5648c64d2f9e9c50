/** A tiny model of each family: every kind of layer, odd sizes; and what a converter would write into its GGUF. */
import type { TypedValue } from '../../gguf/write-gguf.ts'
import type { Json } from '../../json.ts'
import type { AttentionSpec, ModelSpec } from '../model-spec.ts'
import type { Checkpoint, GgufExtras, TinyModel } from '../random-checkpoint.ts'
import { tiled } from './tiled-heads.ts'
import { ropeDivisors } from '../rope-frequencies.ts'

export interface TinyFamily extends TinyModel {
  readonly name: string
  readonly gguf: (spec: ModelSpec) => GgufExtras
  /** The same model with its tensors in the order that GGUF has, where that is another one. */
  readonly inGguf?: (checkpoint: Checkpoint) => Checkpoint
  /** Tokens that llama.cpp computes as the makers do; behind them (a window that it does not know) it departs. */
  readonly comparable?: number
}

export const u32 = (value: number): TypedValue => ({ type: 'u32', value })
export const f32 = (value: number): TypedValue => ({ type: 'f32', value })
export const text = (value: string): TypedValue => ({ type: 'string', value })

const sizes = {
  vocab_size: 300,
  hidden_size: 48,
  intermediate_size: 88,
  num_hidden_layers: 3,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  hidden_act: 'silu',
  max_position_embeddings: 512,
  rms_norm_eps: 1e-5,
  rope_theta: 10_000,
}

/** Keys that every architecture has. */
export const usualKeys = (spec: ModelSpec, config: Json): Record<string, TypedValue> => {
  const mixer = spec.kinds.map((kind) => kind.mixer).find((one): one is AttentionSpec => one.kind === 'attention')
  const head = mixer && {
    'attention.head_count': u32(mixer.heads),
    'attention.head_count_kv': u32(mixer.kvHeads),
    'attention.key_length': u32(mixer.headDim),
    'attention.value_length': u32(mixer.headDim),
    'rope.dimension_count': u32(mixer.rope?.span ?? mixer.headDim),
  }
  return {
    context_length: u32(spec.context),
    embedding_length: u32(spec.hidden),
    block_count: u32(spec.layers.length),
    feed_forward_length: u32(Number(config.intermediate_size)),
    'attention.layer_norm_rms_epsilon': f32(spec.norm.epsilon),
    'rope.freq_base': f32(Number(config.rope_theta)),
    vocab_size: u32(spec.vocab),
    ...head,
  }
}

/** What is different from `sizes`, and what its GGUF says beside the usual keys. */
interface Tiny extends Partial<Omit<GgufExtras, 'keys'>> {
  readonly keys?: Keys
  readonly config: Json
  readonly comparable?: number
  readonly inGguf?: TinyFamily['inGguf']
}

type Keys = Readonly<Record<string, TypedValue | undefined>>

/** Keys of other architectures are taken away by undefined. */
const said = (keys: Keys): GgufExtras['keys'] =>
  Object.fromEntries(Object.entries(keys).filter((entry): entry is [string, TypedValue] => entry[1] !== undefined))

const tiny = (name: string, architecture: string, modelType: string, { config: change, ...more }: Tiny): TinyFamily => {
  const config = { architectures: [architecture], model_type: modelType, ...sizes, ...change }
  const { comparable, inGguf, ...extras } = more
  return {
    name,
    config,
    seed: name.length,
    gguf: (spec) => ({ ...extras, keys: said({ ...usualKeys(spec, config), ...extras.keys }) }),
    ...(comparable !== undefined && { comparable }),
    ...(inGguf && { inGguf }),
  }
}

const llama3 = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 64 }
const llama3Divisors = ropeDivisors(
  { kind: 'llama3', factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalContext: 64 },
  10_000,
  8,
)
const yarnKeys = (factor: number, original: number): GgufExtras['keys'] => ({
  'rope.scaling.type': text('yarn'),
  'rope.scaling.factor': f32(factor),
  'rope.scaling.original_context_length': u32(original),
})
const expertKeys = (count: number, used: number, ffn?: number): GgufExtras['keys'] => ({
  expert_count: u32(count),
  expert_used_count: u32(used),
  ...(ffn && { expert_feed_forward_length: u32(ffn) }),
})
/**
 * llama.cpp rounds both ends of yarn's ramp, also for gpt-oss, whose makers do not. With this theta the upper end is a
 * hair below a whole number and the lower one below 0, so that both mean the same.
 */
const gptOssTheta = Math.fround((64 / (2 * Math.PI)) ** 4 * 1.000001)

const deltaSizes = {
  num_hidden_layers: 4,
  head_dim: 16,
  rms_norm_eps: 1e-6,
  partial_rotary_factor: 0.25,
  linear_num_key_heads: 2,
  linear_num_value_heads: 6,
  linear_key_head_dim: 16,
  linear_value_head_dim: 16,
}
const deltaKeys: GgufExtras['keys'] = {
  'rope.dimension_sections': { type: 'i32', values: [1, 1, 0, 0] },
  full_attention_interval: u32(4),
  'ssm.conv_kernel': u32(4),
  'ssm.state_size': u32(16),
  'ssm.time_step_rank': u32(6),
  'ssm.group_count': u32(2),
  'ssm.inner_size': u32(96),
}

const nextSizes = {
  ...deltaSizes,
  num_experts: 6,
  num_experts_per_tok: 2,
  moe_intermediate_size: 24,
  shared_expert_intermediate_size: 40,
}
const nextKeys: GgufExtras['keys'] = {
  ...deltaKeys,
  ...expertKeys(6, 2, 24),
  expert_shared_feed_forward_length: u32(40),
}

const sigmoidSizes = {
  n_routed_experts: 8,
  num_experts_per_tok: 3,
  n_shared_experts: 1,
  n_group: 4,
  topk_group: 2,
  moe_intermediate_size: 24,
  routed_scaling_factor: 1.5,
  norm_topk_prob: true,
  first_k_dense_replace: 1,
}
const sigmoidKeys: GgufExtras['keys'] = {
  ...expertKeys(8, 3, 24),
  expert_shared_count: u32(1),
  expert_weights_scale: f32(1.5),
  expert_weights_norm: { type: 'bool', value: true },
  expert_gating_func: u32(2),
  leading_dense_block_count: u32(1),
}
const latentSizes = {
  ...sigmoidSizes,
  num_key_value_heads: 6,
  kv_lora_rank: 20,
  qk_nope_head_dim: 16,
  qk_rope_head_dim: 8,
  v_head_dim: 12,
}
const latentKeys = (keyLength: number, valueLength: number): GgufExtras['keys'] => ({
  ...sigmoidKeys,
  expert_group_count: u32(4),
  expert_group_used_count: u32(2),
  'attention.kv_lora_rank': u32(20),
  'attention.head_count': u32(6),
  'attention.head_count_kv': u32(1),
  'attention.key_length': u32(keyLength),
  'attention.value_length': u32(valueLength),
  'attention.key_length_mla': u32(24),
  'attention.value_length_mla': u32(12),
  'rope.dimension_count': u32(8),
})

export const tinyFamilies: readonly TinyFamily[] = [
  tiny('llama, scaled', 'LlamaForCausalLM', 'llama', {
    config: { rope_scaling: { rope_type: 'llama3', ...llama3 } },
    vectors: { 'rope_freqs.weight': llama3Divisors },
  }),
  tiny('llama, fused and tied', 'LlamaForCausalLM', 'llama', {
    config: {
      tie_word_embeddings: true,
      attention_bias: true,
      num_attention_heads: 4,
      head_dim: 16,
      rope_scaling: { type: 'linear', factor: 2 },
    },
    keys: { 'rope.scaling.type': text('linear'), 'rope.scaling.factor': f32(2) },
    way: 'last',
  }),
  tiny('mistral', 'MistralForCausalLM', 'mistral', { config: { sliding_window: null, head_dim: 12 } }),
  tiny('mixtral', 'MixtralForCausalLM', 'mixtral', {
    config: { num_local_experts: 6, num_experts_per_tok: 2 },
    keys: expertKeys(6, 2),
  }),
  tiny('qwen2', 'Qwen2ForCausalLM', 'qwen2', { config: { tie_word_embeddings: true } }),
  tiny('qwen2, yarn', 'Qwen2ForCausalLM', 'qwen2', {
    config: { rope_scaling: { type: 'yarn', factor: 4, original_max_position_embeddings: 128 } },
    keys: yarnKeys(4, 128),
  }),
  tiny('qwen3', 'Qwen3ForCausalLM', 'qwen3', { config: { head_dim: 12 } }),
  tiny('qwen3 moe', 'Qwen3MoeForCausalLM', 'qwen3_moe', {
    config: {
      head_dim: 16,
      num_experts: 7,
      num_experts_per_tok: 3,
      moe_intermediate_size: 24,
      norm_topk_prob: true,
    },
    keys: expertKeys(7, 3, 24),
  }),
  tiny('gemma', 'GemmaForCausalLM', 'gemma', { config: { head_dim: 16, hidden_act: 'gelu_pytorch_tanh' } }),
  tiny('gemma 2', 'Gemma2ForCausalLM', 'gemma2', {
    config: {
      head_dim: 16,
      hidden_act: 'gelu_pytorch_tanh',
      sliding_window: 20,
      num_hidden_layers: 4,
      query_pre_attn_scalar: 16,
    },
    keys: {
      'attention.sliding_window': u32(20),
      attn_logit_softcapping: f32(50),
      final_logit_softcapping: f32(30),
    },
  }),
  tiny('gemma 3', 'Gemma3ForCausalLM', 'gemma3_text', {
    config: {
      head_dim: 16,
      hidden_act: undefined,
      hidden_activation: 'gelu_pytorch_tanh',
      sliding_window: 20,
      num_hidden_layers: 7,
      query_pre_attn_scalar: 16,
      rope_theta: 1_000_000,
      rope_scaling: { rope_type: 'linear', factor: 8 },
    },
    keys: {
      'attention.sliding_window': u32(20),
      'rope.scaling.type': text('linear'),
      'rope.scaling.factor': f32(8),
    },
  }),
  tiny('phi3', 'Phi3ForCausalLM', 'phi3', {
    config: { sliding_window: 40 },
    keys: { 'attention.sliding_window': u32(40) },
    comparable: 40,
  }),
  tiny('phi3, longrope', 'Phi3ForCausalLM', 'phi3', {
    config: {
      head_dim: 16,
      num_attention_heads: 3,
      num_key_value_heads: 3,
      partial_rotary_factor: 0.75,
      original_max_position_embeddings: 32,
      rope_scaling: { type: 'longrope', short_factor: factors(1), long_factor: factors(1.7) },
    },
    keys: {
      'rope.scaling.original_context_length': u32(32),
      'rope.scaling.attn_factor': f32(Math.sqrt(1 + Math.log(16) / Math.log(32))),
    },
    vectors: { 'rope_factors_short.weight': factors(1), 'rope_factors_long.weight': factors(1.7) },
  }),
  tiny('gpt-oss', 'GptOssForCausalLM', 'gpt_oss', {
    config: {
      head_dim: 16,
      num_local_experts: 5,
      num_experts_per_tok: 2,
      intermediate_size: 40,
      num_hidden_layers: 4,
      sliding_window: 20,
      rope_theta: gptOssTheta,
      rope_scaling: { rope_type: 'yarn', factor: 32, original_max_position_embeddings: 64, truncate: false },
    },
    keys: { ...expertKeys(5, 2, 40), 'attention.sliding_window': u32(20), ...yarnKeys(32, 64) },
  }),
  tiny('smollm3', 'SmolLM3ForCausalLM', 'smollm3', {
    config: { num_hidden_layers: 4, tie_word_embeddings: true },
  }),
  tiny('qwen3.5', 'Qwen3_5ForCausalLM', 'qwen3_5_text', {
    config: { ...deltaSizes },
    keys: deltaKeys,
    inGguf: tiled,
  }),
  tiny('qwen3.5 moe', 'Qwen3_5MoeForCausalLM', 'qwen3_5_moe_text', {
    config: nextSizes,
    keys: nextKeys,
    inGguf: tiled,
  }),
  tiny('qwen3 next', 'Qwen3NextForCausalLM', 'qwen3_next', { config: nextSizes, keys: nextKeys }),
  tiny('qwen3 next, old file', 'Qwen3NextForCausalLM', 'qwen3_next', {
    config: nextSizes,
    keys: nextKeys,
    way: 'last',
  }),
  tiny('deepseek v3', 'DeepseekV3ForCausalLM', 'deepseek_v3', {
    config: {
      ...latentSizes,
      q_lora_rank: 24,
      rope_scaling: { type: 'yarn', factor: 4, original_max_position_embeddings: 128, mscale: 1, mscale_all_dim: 1 },
    },
    keys: {
      ...latentKeys(20 + 8, 20),
      'attention.q_lora_rank': u32(24),
      ...yarnKeys(4, 128),
      'rope.scaling.yarn_log_multiplier': f32(0.1),
    },
  }),
  tiny('deepseek v3, old file, plain q', 'DeepseekV3ForCausalLM', 'deepseek_v3', {
    config: { ...latentSizes, q_lora_rank: null, n_group: 1, topk_group: 1 },
    keys: {
      ...latentKeys(16 + 8, 12),
      'attention.q_lora_rank': u32(0),
      'attention.head_count_kv': u32(6),
      'attention.key_length': u32(16 + 8),
      'attention.value_length': u32(12),
      'attention.key_length_mla': undefined,
      'attention.value_length_mla': undefined,
      expert_group_count: undefined,
      expert_group_used_count: undefined,
    },
    way: 'last',
  }),
  tiny('glm 4.5', 'Glm4MoeForCausalLM', 'glm4_moe', {
    config: { ...sigmoidSizes, n_group: 1, topk_group: 1, head_dim: 16, attention_bias: true, use_qk_norm: true },
    keys: sigmoidKeys,
  }),
  tiny('minimax m2', 'MiniMaxM2ForCausalLM', 'minimax_m2', {
    config: { head_dim: 16, rotary_dim: 8, num_local_experts: 6, num_experts_per_tok: 2, intermediate_size: 24 },
    keys: { ...expertKeys(6, 2, 24), expert_gating_func: u32(2) },
  }),
  tiny('olmo 2', 'Olmo2ForCausalLM', 'olmo2', { config: { num_key_value_heads: 6 } }),
  tiny('olmo 3', 'Olmo3ForCausalLM', 'olmo3', {
    config: {
      num_hidden_layers: 4,
      num_key_value_heads: 6,
      sliding_window: 20,
      rope_scaling: { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 128 },
    },
    keys: { 'attention.sliding_window': u32(20), ...yarnKeys(4, 128) },
  }),
  tiny('cohere', 'CohereForCausalLM', 'cohere', {
    config: { logit_scale: 0.25, layer_norm_eps: 1e-5 },
    keys: { logit_scale: f32(0.25), 'attention.layer_norm_epsilon': f32(1e-5) },
  }),
  tiny('cohere 2', 'Cohere2ForCausalLM', 'cohere2', {
    config: { num_hidden_layers: 4, logit_scale: 0.25, layer_norm_eps: 1e-5, sliding_window: 20 },
    keys: {
      logit_scale: f32(0.25),
      'attention.layer_norm_epsilon': f32(1e-5),
      'attention.sliding_window': u32(20),
    },
  }),
  tiny('granite', 'GraniteForCausalLM', 'granite', {
    config: {
      embedding_multiplier: 3,
      attention_multiplier: 0.2,
      residual_multiplier: 0.5,
      logits_scaling: 2,
      tie_word_embeddings: true,
    },
    keys: { embedding_scale: f32(3), 'attention.scale': f32(0.2), residual_scale: f32(0.5), logit_scale: f32(2) },
  }),
  ...[0, 40].map((shared) =>
    tiny(shared ? 'granite moe, shared' : 'granite moe', 'GraniteMoeForCausalLM', 'granitemoe', {
      config: {
        embedding_multiplier: 3,
        attention_multiplier: 0.2,
        residual_multiplier: 0.5,
        logits_scaling: 2,
        intermediate_size: 24,
        num_local_experts: 6,
        num_experts_per_tok: 2,
        ...(shared && { shared_intermediate_size: shared }),
      },
      keys: {
        embedding_scale: f32(3),
        'attention.scale': f32(0.2),
        residual_scale: f32(0.5),
        logit_scale: f32(2),
        ...expertKeys(6, 2),
        ...(shared && { expert_shared_feed_forward_length: u32(shared) }),
      },
    }),
  ),
  tiny('exaone 4', 'Exaone4ForCausalLM', 'exaone4', {
    config: { sliding_window: null, rope_scaling: { rope_type: 'llama3', ...llama3 } },
    vectors: { 'rope_freqs.weight': llama3Divisors },
  }),
  // llama.cpp knows by the number of layers which ones slide
  tiny('exaone 4, windows', 'Exaone4ForCausalLM', 'exaone4', {
    config: { num_hidden_layers: 4, sliding_window: 20 },
    keys: {
      'attention.sliding_window': u32(20),
      'attention.sliding_window_pattern': { type: 'bool', values: [true, true, true, false] },
    },
    comparable: 0,
  }),
  tiny('ministral 3', 'Ministral3ForCausalLM', 'ministral3', {
    config: {
      head_dim: 16,
      rope_theta: undefined,
      rope_parameters: {
        type: 'yarn',
        rope_type: 'yarn',
        rope_theta: 10_000,
        factor: 4,
        original_max_position_embeddings: 16,
        max_position_embeddings: 512,
        beta_fast: 32,
        beta_slow: 1,
        mscale: 1,
        mscale_all_dim: 1,
        llama_4_scaling_beta: 0.1,
      },
    },
    keys: {
      ...yarnKeys(4, 16),
      'rope.freq_base': f32(10_000),
      'rope.scaling.yarn_beta_fast': f32(32),
      'rope.scaling.yarn_beta_slow': f32(1),
      'rope.scaling.yarn_log_multiplier': f32(1),
      'attention.temperature_scale': f32(0.1),
    },
  }),
]

function factors(start: number): number[] {
  return Array.from({ length: 6 }, (_, i) => Math.fround(start + i / 7))
}
