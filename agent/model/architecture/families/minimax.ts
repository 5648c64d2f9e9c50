/** MiniMax-M2. */
import { caps } from '../config-values.ts'
import type { Family } from '../family.ts'
import { onlySigmoid } from './deepseek.ts'
import { attention, experts, projectionNorm } from '../parts.ts'

const moe = 'model.layers.{n}.block_sparse_moe'

export const minimaxM2: Family = {
  name: 'MiniMax-M2',
  models: 'MiniMax-M2, M2.1',
  classes: ['MiniMaxM2ForCausalLM'],
  modelTypes: ['minimax_m2', 'minimax'],
  reads: 'num_local_experts num_experts_per_tok rotary_dim',
  ignores: 'num_mtp_modules mtp_transformer_layers use_mtp router_jitter_noise max_model_len mlp_intermediate_size',
  harmless: {
    use_qk_norm: [true],
    qk_norm_type: ['per_layer'],
    scoring_func: ['sigmoid'],
    use_routing_bias: [true],
    shared_intermediate_size: [0],
    shared_moe_mode: ['sigmoid'],
    attn_type_list: {
      says: 'full attention (1) in every layer',
      holds: (value) => Array.isArray(value) && value.every((kind) => kind === 1),
    },
  },
  defaults: {
    vocab_size: 200_064,
    hidden_size: 3072,
    intermediate_size: 1536,
    num_hidden_layers: 62,
    num_attention_heads: 48,
    num_key_value_heads: 8,
    head_dim: 128,
    num_local_experts: 256,
    num_experts_per_tok: 8,
    rotary_dim: 64,
    hidden_act: 'silu',
    max_position_embeddings: 196_608,
    rms_norm_eps: 1e-6,
    rope_theta: 5_000_000,
  },
  layer: (values) => ({
    block: 'pre',
    mixer: attention(onlySigmoid(values), {
      qkNorm: projectionNorm,
      rope: { dims: values.size('rotary_dim', caps.headDim) },
    }),
    feedForward: {
      activation: 'silu',
      gated: true,
      experts: experts(
        values,
        { count: 'num_local_experts', ffn: 'intermediate_size' },
        { score: 'sigmoid', choiceBias: true, renormalise: { epsilon: 1e-20 } },
      ),
    },
  }),
  names: {
    'mlp.router': `${moe}.gate.weight`,
    'mlp.router.choiceBias': `${moe}.e_score_correction_bias`,
    'mlp.experts.gate': `${moe}.experts.{e}.w1.weight`,
    'mlp.experts.down': `${moe}.experts.{e}.w2.weight`,
    'mlp.experts.up': `${moe}.experts.{e}.w3.weight`,
  },
  gguf: {
    architecture: 'minimax-m2',
    keys: {
      feed_forward_length: null,
      expert_count: 'num_local_experts',
      expert_used_count: 'num_experts_per_tok',
      expert_feed_forward_length: 'intermediate_size',
      'rope.dimension_count': 'rotary_dim',
      expert_gating_func: 'scoring_func',
    },
  },
}
