/** GLM 4.5 and later of Z.ai. */
import type { Family } from '../family.ts'
import { attention, headNorm } from '../parts.ts'
import { leadingDense, onlySigmoid, sigmoidGgufKeys, sigmoidKeys, sigmoidNames } from './deepseek.ts'

export const glm4Moe: Family = {
  name: 'GLM-4.5',
  models: 'GLM-4.5, 4.6, 4.7; Air',
  classes: ['Glm4MoeForCausalLM'],
  modelTypes: ['glm4_moe'],
  reads: `${sigmoidKeys} attention_bias use_qk_norm partial_rotary_factor`,
  ignores: 'num_nextn_predict_layers',
  harmless: { scoring_func: ['sigmoid'], topk_method: ['noaux_tc'] },
  defaults: {
    vocab_size: 151_552,
    hidden_size: 4096,
    intermediate_size: 10_944,
    moe_intermediate_size: 1408,
    num_hidden_layers: 46,
    num_attention_heads: 96,
    num_key_value_heads: 8,
    head_dim: 128,
    partial_rotary_factor: 0.5,
    n_routed_experts: 128,
    n_shared_experts: 1,
    num_experts_per_tok: 8,
    n_group: 1,
    topk_group: 1,
    routed_scaling_factor: 1,
    norm_topk_prob: true,
    first_k_dense_replace: 1,
    hidden_act: 'silu',
    max_position_embeddings: 131_072,
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
  },
  layer: (values, index) => ({
    block: 'pre',
    mixer: attention(onlySigmoid(values), {
      bias: { qkv: values.flag('attention_bias'), o: false },
      ...(values.flag('use_qk_norm') && { qkNorm: headNorm }),
      rope: { partial: true },
    }),
    feedForward: leadingDense(values, index),
  }),
  draftLayers: true,
  names: sigmoidNames,
  gguf: {
    architecture: 'glm4moe',
    keys: { ...sigmoidGgufKeys, 'rope.dimension_sections': null },
    implied: ({ tensors }) => ({
      n_group: 1,
      topk_group: 1,
      routed_scaling_factor: 1,
      first_k_dense_replace: 0,
      n_shared_experts: 0,
      attention_bias: tensors.has('blk.0.attn_q.bias') || tensors.has('blk.0.attn_qkv.bias'),
      use_qk_norm: tensors.has('blk.0.attn_q_norm.weight'),
    }),
    names: { 'mlp.norm': 'blk.{n}.post_attention_norm.weight' },
    draftBlocks: true,
  },
}
