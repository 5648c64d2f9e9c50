/** Qwen3.5 and its relatives: a gated delta net in three of four layers. */
import { caps, type ConfigValues } from '../config-values.ts'
import type { Family, GgufFacts } from '../family.ts'
import type { DeltaSpec, ExpertsSpec, LayerSpec, MixerSpec } from '../model-spec.ts'
import { huggingFaceNames, plusOne, together } from '../names.ts'
import type { Names } from '../naming.ts'
import { attention, bySum, dense, experts, headNorm, layerKind } from '../parts.ts'

const delta = (values: ConfigValues): DeltaSpec => {
  const keyHeads = values.size('linear_num_key_heads', caps.heads)
  const valueHeads = values.size('linear_num_value_heads', caps.heads)
  if (valueHeads % keyHeads !== 0)
    return values.refuse('linear_num_value_heads', `it must be a multiple of ${keyHeads} key heads`)
  return {
    kind: 'delta',
    keyHeads,
    valueHeads,
    keyDim: values.size('linear_key_head_dim', caps.headDim),
    valueDim: values.size('linear_value_head_dim', caps.headDim),
    convolution: values.size('linear_conv_kernel_dim', 16),
    gate: 'silu',
    valueOrder: values.oneOf('linear_value_order', ['grouped', 'tiled']),
  }
}

const mixer = (values: ConfigValues, index: number): MixerSpec => {
  const every = values.size('full_attention_interval', caps.layers)
  const usual = (layer: number) => ((layer + 1) % every === 0 ? 'full_attention' : 'linear_attention')
  if (layerKind(values, index, usual, ['full_attention', 'linear_attention']) === 'linear_attention')
    return delta(values)
  const bias = values.flag('attention_bias')
  return attention(values, {
    bias: { qkv: bias, o: bias },
    qkNorm: headNorm,
    rope: { partial: true },
    extra: { outputGate: true },
  })
}

const routed = (values: ConfigValues): ExpertsSpec =>
  experts(
    values,
    { count: 'num_experts', ffn: 'moe_intermediate_size' },
    {
      ...(values.flag('norm_topk_prob') && { renormalise: bySum }),
      shared: { ffn: values.size('shared_expert_intermediate_size', caps.ffn), gated: true },
    },
  )

const layerOf = (values: ConfigValues, index: number, ffn: LayerSpec['feedForward']): LayerSpec => ({
  block: 'pre',
  mixer: mixer(values, index),
  feedForward: ffn,
})

const at = 'model.layers.{n}.linear_attn'
const names: Names = {
  ...plusOne(huggingFaceNames),
  ...together('model.layers.{n}.self_attn.q_proj.weight', ['attention.q', 'attention.gate'], 'head'),
  'delta.qkv': `${at}.in_proj_qkv.weight`,
  'delta.z': `${at}.in_proj_z.weight`,
  'delta.b': `${at}.in_proj_b.weight`,
  'delta.a': `${at}.in_proj_a.weight`,
  'delta.o': `${at}.out_proj.weight`,
  'delta.convolution': `${at}.conv1d.weight`,
  'delta.dtBias': `${at}.dt_bias`,
  'delta.decay': { name: `${at}.A_log`, apply: 'minusExp' },
  'delta.norm': `${at}.norm.weight`,
}

const gateUp = ['mlp.experts.gate', 'mlp.experts.up']
/** Stacks of experts, gate rows before up rows; older files have each expert apart. */
const stacked: Names = {
  ...Object.fromEntries(
    gateUp.map((part) => [
      part,
      [
        { name: 'model.layers.{n}.mlp.experts.gate_up_proj', together: gateUp, per: 'expert' },
        `model.layers.{n}.mlp.experts.{e}.${part.slice(12)}_proj.weight`,
      ],
    ]),
  ),
  'mlp.experts.down': ['model.layers.{n}.mlp.experts.down_proj', 'model.layers.{n}.mlp.experts.{e}.down_proj.weight'],
}

const blk = 'blk.{n}'
const ggufNames: Names = {
  ...together(`${blk}.attn_q.weight`, ['attention.q', 'attention.gate'], 'head'),
  'attention.k': `${blk}.attn_k.weight`,
  'attention.v': `${blk}.attn_v.weight`,
  'mlp.norm': `${blk}.post_attention_norm.weight`,
  'delta.qkv': `${blk}.attn_qkv.weight`,
  'delta.z': `${blk}.attn_gate.weight`,
  'delta.b': `${blk}.ssm_beta.weight`,
  'delta.a': `${blk}.ssm_alpha.weight`,
  'delta.o': `${blk}.ssm_out.weight`,
  'delta.convolution': `${blk}.ssm_conv1d.weight`,
  'delta.dtBias': `${blk}.ssm_dt.bias`,
  'delta.decay': `${blk}.ssm_a`,
  'delta.norm': `${blk}.ssm_norm.weight`,
}

/** Of Qwen3-Next, whose makers lay what belongs to one key head together. */
const nextNames: Names = {
  ...names,
  'delta.qkv': { name: `${at}.in_proj_qkvz.weight`, per: 'keyHead' },
  'delta.z': { name: `${at}.in_proj_qkvz.weight`, per: 'keyHead' },
  ...together(`${at}.in_proj_ba.weight`, ['delta.b', 'delta.a'], 'head'),
  ...stacked,
}

/** Older files have q, k, v and z as their makers do. */
const nextGgufNames: Names = {
  ...ggufNames,
  'delta.qkv': [`${blk}.attn_qkv.weight`, { name: `${blk}.ssm_in.weight`, per: 'keyHead' }],
  'delta.z': [`${blk}.attn_gate.weight`, { name: `${blk}.ssm_in.weight`, per: 'keyHead' }],
  ...together(`${blk}.ssm_ba.weight`, ['delta.b', 'delta.a'], 'head'),
}

const ggufKeys = {
  full_attention_interval: 'full_attention_interval',
  'ssm.conv_kernel': 'linear_conv_kernel_dim',
  'ssm.state_size': 'linear_key_head_dim',
  'ssm.time_step_rank': 'linear_num_value_heads',
  'ssm.group_count': 'linear_num_key_heads',
  'ssm.inner_size': null,
  // positions of text are alike in all sections
  'rope.dimension_sections': null,
  'attention.recurrent_layers': null,
}

/** Of files with experts. */
const expertKeys = {
  expert_count: 'num_experts',
  expert_used_count: 'num_experts_per_tok',
  expert_feed_forward_length: 'moe_intermediate_size',
  expert_shared_feed_forward_length: 'shared_expert_intermediate_size',
}

/** Which layers are recurrent may be a list. */
const implied = ({ value }: GgufFacts, order: DeltaSpec['valueOrder'] = 'tiled') => {
  const recurrent = value('attention.recurrent_layers')
  return {
    full_attention_interval: 4,
    linear_value_order: order,
    linear_value_head_dim: Number(value('ssm.inner_size')) / Number(value('ssm.time_step_rank')),
    ...(Array.isArray(recurrent) && {
      layer_types: recurrent.map((flag) => (flag ? 'linear_attention' : 'full_attention')),
    }),
  }
}

const defaults = {
  vocab_size: 248_320,
  hidden_size: 4096,
  intermediate_size: 12_288,
  num_hidden_layers: 32,
  num_attention_heads: 16,
  num_key_value_heads: 4,
  head_dim: 256,
  hidden_act: 'silu',
  max_position_embeddings: 32_768,
  rms_norm_eps: 1e-6,
  rope_theta: 10_000,
  partial_rotary_factor: 0.25,
  full_attention_interval: 4,
  linear_conv_kernel_dim: 4,
  linear_key_head_dim: 128,
  linear_value_head_dim: 128,
  linear_num_key_heads: 16,
  linear_num_value_heads: 32,
  linear_value_order: 'grouped',
}

const reads = `attention_bias layer_types full_attention_interval partial_rotary_factor linear_conv_kernel_dim
  linear_key_head_dim linear_value_head_dim linear_num_key_heads linear_num_value_heads`
/** Heads that draft further tokens, the type of states in memory, positions of images. */
const ignores = `mtp_num_hidden_layers mtp_use_dedicated_embeddings num_nextn_predict_layers mamba_ssm_dtype
  mrope_interleaved mrope_section`
const harmless = { attn_output_gate: [true], mlp_only_layers: [[]], decoder_sparse_step: [1] }

const withExperts = (values: ConfigValues, index: number): LayerSpec =>
  layerOf(values, index, { activation: 'silu', gated: true, experts: routed(values) })

const expertReads = `${reads} num_experts num_experts_per_tok moe_intermediate_size shared_expert_intermediate_size
  norm_topk_prob`

export const qwen35: Family = {
  name: 'Qwen3.5',
  models: 'Qwen3.5, Qwen3.6, Qwen3.8, dense',
  classes: ['Qwen3_5ForCausalLM'],
  modelTypes: ['qwen3_5_text'],
  wrappers: ['Qwen3_5ForConditionalGeneration'],
  reads,
  ignores: `${ignores} moe_intermediate_size shared_expert_intermediate_size`,
  harmless,
  defaults,
  layer: (values, index) => layerOf(values, index, dense(values)),
  names,
  passesOver: /^mtp\./,
  gguf: {
    architecture: 'qwen35',
    keys: ggufKeys,
    implied: (facts) => implied(facts),
    names: ggufNames,
    draftBlocks: true,
  },
}

export const qwen35Moe: Family = {
  name: 'Qwen3.5-MoE',
  models: 'Qwen3.5 and Qwen3.6 with experts: 35B-A3B, 122B-A10B, 397B-A17B',
  classes: ['Qwen3_5MoeForCausalLM'],
  modelTypes: ['qwen3_5_moe_text'],
  wrappers: ['Qwen3_5MoeForConditionalGeneration'],
  reads: expertReads,
  ignores,
  harmless,
  defaults: {
    ...defaults,
    hidden_size: 2048,
    num_hidden_layers: 40,
    num_key_value_heads: 2,
    num_experts: 256,
    num_experts_per_tok: 8,
    moe_intermediate_size: 512,
    shared_expert_intermediate_size: 512,
    norm_topk_prob: true,
  },
  layer: withExperts,
  names: { ...names, ...stacked },
  passesOver: /^mtp\./,
  gguf: {
    architecture: 'qwen35moe',
    keys: { ...ggufKeys, ...expertKeys },
    implied: (facts) => ({ ...implied(facts), norm_topk_prob: true }),
    names: ggufNames,
    draftBlocks: true,
  },
}

export const qwen3Next: Family = {
  name: 'Qwen3-Next',
  models: 'Qwen3-Next 80B-A3B; Qwen3-Coder-Next',
  classes: ['Qwen3NextForCausalLM'],
  modelTypes: ['qwen3_next'],
  reads: expertReads,
  ignores,
  harmless,
  defaults: {
    ...defaults,
    vocab_size: 151_936,
    hidden_size: 2048,
    intermediate_size: 5632,
    num_hidden_layers: 48,
    num_key_value_heads: 2,
    num_experts: 512,
    num_experts_per_tok: 10,
    moe_intermediate_size: 512,
    shared_expert_intermediate_size: 512,
    norm_topk_prob: true,
  },
  layer: withExperts,
  names: nextNames,
  passesOver: /^mtp\./,
  gguf: {
    architecture: 'qwen3next',
    keys: { ...ggufKeys, ...expertKeys },
    implied: (facts) => ({ ...implied(facts, 'grouped'), norm_topk_prob: true }),
    names: nextGgufNames,
    draftBlocks: true,
  },
}
