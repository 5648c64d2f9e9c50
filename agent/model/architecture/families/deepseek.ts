/** DeepSeek V3 and its relatives: latent attention, and a router of sigmoids that others took over. */
import { caps, type ConfigValues } from '../config-values.ts'
import type { Family, GgufFacts } from '../family.ts'
import type { ExpertsSpec, LatentAttentionSpec } from '../model-spec.ts'
import type { Names } from '../naming.ts'
import { dense, experts, ropeOf } from '../parts.ts'
import { readRope } from '../rope-config.ts'

const mla = (values: ConfigValues): LatentAttentionSpec => {
  const size = (key: string, maximum: number = caps.headDim): number => values.size(key, maximum)
  const [nopeDim, ropeDim] = [size('qk_nope_head_dim'), size('qk_rope_head_dim')]
  const { scaling } = readRope(values, { headDim: ropeDim })
  // the magnitude of yarn sits in the scale of scores
  const all = scaling.kind === 'yarn' && scaling.factor > 1 ? scaling.mscaleAllDim * Math.log(scaling.factor) : 0
  // 0 and null: queries come from the input directly
  const queryRank = values.optional('q_lora_rank', (key) => values.integer(key, 0, caps.hidden)) || undefined
  return {
    kind: 'mla',
    heads: size('num_attention_heads', caps.heads),
    ...(queryRank !== undefined && { queryRank }),
    kvRank: size('kv_lora_rank', caps.hidden),
    nopeDim,
    ropeDim,
    valueDim: size('v_head_dim'),
    scale: (nopeDim + ropeDim) ** -0.5 * (0.1 * all + 1) ** 2,
    rope: ropeOf(values, { headDim: ropeDim }, 'interleaved'),
  }
}

/** Sigmoids, chosen with a bias, in the best of some groups; and experts that every token uses. */
export const sigmoidExperts = (values: ConfigValues): ExpertsSpec => {
  const count = values.size('n_routed_experts', caps.experts)
  const groups = values.size('n_group', count)
  const kept = values.size('topk_group', groups)
  if (count % groups !== 0) values.refuse('n_group', `${count} experts are no multiple of it`)
  if (groups > 1 && count / groups < 2) values.refuse('n_group', 'a group has at least two experts')
  const shared = values.integer('n_shared_experts', 0, 64)
  const spec = experts(
    values,
    { count: 'n_routed_experts', ffn: 'moe_intermediate_size' },
    {
      score: 'sigmoid',
      choiceBias: true,
      ...(groups > kept && { groups: { count: groups, kept } }),
      ...(values.flag('norm_topk_prob') && { renormalise: { epsilon: 1e-20 } }),
      factor: values.positive('routed_scaling_factor'),
    },
  )
  if (spec.used > (count / groups) * kept) values.refuse('num_experts_per_tok', `${kept} groups have fewer experts`)
  return shared === 0 ? spec : { ...spec, shared: { ffn: shared * spec.ffn, gated: false } }
}

/** Files may say which scores the router has. */
export const onlySigmoid = (values: ConfigValues): ConfigValues => {
  values.optional('scoring_func', (key) => values.oneOf(key, ['sigmoid']))
  return values
}

export const sigmoidKeys = `n_routed_experts num_experts_per_tok n_shared_experts n_group topk_group
  moe_intermediate_size routed_scaling_factor norm_topk_prob first_k_dense_replace`

/** GGUF keys of the same. */
export const sigmoidGgufKeys = {
  expert_count: 'n_routed_experts',
  expert_used_count: 'num_experts_per_tok',
  expert_feed_forward_length: 'moe_intermediate_size',
  expert_shared_count: 'n_shared_experts',
  expert_group_count: 'n_group',
  expert_group_used_count: 'topk_group',
  expert_weights_scale: 'routed_scaling_factor',
  expert_weights_norm: 'norm_topk_prob',
  leading_dense_block_count: 'first_k_dense_replace',
  expert_gating_func: 'scoring_func',
}

const mlp = 'model.layers.{n}.mlp'
/** Their names in safetensors. */
export const sigmoidNames: Names = {
  'mlp.router.choiceBias': `${mlp}.gate.e_score_correction_bias`,
  'mlp.shared.gate': `${mlp}.shared_experts.gate_proj.weight`,
  'mlp.shared.up': `${mlp}.shared_experts.up_proj.weight`,
  'mlp.shared.down': `${mlp}.shared_experts.down_proj.weight`,
}

/** The first layers are dense. */
export const leadingDense = (values: ConfigValues, index: number) =>
  index < values.integer('first_k_dense_replace', 0, caps.layers)
    ? dense(values)
    : ({ activation: 'silu', gated: true, experts: sigmoidExperts(values) } as const)

const attn = 'model.layers.{n}.self_attn'
const blk = 'blk.{n}'
const perHead = (name: string) => ({ name, together: ['mla.kb', 'mla.vb'], per: 'head', turned: ['mla.kb'] }) as const

/** Newer files say how long heads are before they are absorbed; older ones mean that by the usual keys. */
const implied = ({ value }: GgufFacts) => {
  const rope = Number(value('rope.dimension_count'))
  const isNew = value('attention.key_length_mla') !== undefined
  return {
    qk_rope_head_dim: rope,
    qk_nope_head_dim: Number(value(isNew ? 'attention.key_length_mla' : 'attention.key_length')) - rope,
    v_head_dim: value(isNew ? 'attention.value_length_mla' : 'attention.value_length'),
    n_group: 1,
    topk_group: 1,
    n_shared_experts: 0,
    routed_scaling_factor: 1,
  }
}

export const deepseekV3: Family = {
  name: 'DeepSeek-V3',
  models: 'DeepSeek V3, V3.1, R1; Kimi K2',
  classes: ['DeepseekV3ForCausalLM'],
  modelTypes: ['deepseek_v3', 'kimi_k2'],
  reads: `${sigmoidKeys} q_lora_rank kv_lora_rank qk_nope_head_dim qk_rope_head_dim v_head_dim scoring_func`,
  // of heads only the sizes without and with rope count; the others say the same in other words
  ignores: 'head_dim qk_head_dim ep_size seq_aux num_nextn_predict_layers',
  harmless: {
    moe_layer_freq: [1],
    topk_method: ['noaux_tc'],
    rope_interleave: [true],
    num_key_value_heads: {
      says: 'the value of num_attention_heads',
      holds: (value, keys) => value === (keys.num_attention_heads ?? 128),
    },
  },
  defaults: {
    vocab_size: 129_280,
    hidden_size: 7168,
    intermediate_size: 18_432,
    moe_intermediate_size: 2048,
    num_hidden_layers: 61,
    num_attention_heads: 128,
    n_routed_experts: 256,
    n_shared_experts: 1,
    num_experts_per_tok: 8,
    n_group: 8,
    topk_group: 4,
    routed_scaling_factor: 2.5,
    norm_topk_prob: true,
    scoring_func: 'sigmoid',
    first_k_dense_replace: 3,
    q_lora_rank: 1536,
    kv_lora_rank: 512,
    qk_nope_head_dim: 128,
    qk_rope_head_dim: 64,
    v_head_dim: 128,
    hidden_act: 'silu',
    max_position_embeddings: 4096,
    rms_norm_eps: 1e-6,
    rope_theta: 10_000,
  },
  layer: (values, index) => {
    values.oneOf('scoring_func', ['sigmoid'])
    return { block: 'pre', mixer: mla(values), feedForward: leadingDense(values, index) }
  },
  draftLayers: true,
  names: {
    ...sigmoidNames,
    'mla.q': `${attn}.q_proj.weight`,
    'mla.qa': `${attn}.q_a_proj.weight`,
    'mla.qaNorm': `${attn}.q_a_layernorm.weight`,
    'mla.qb': `${attn}.q_b_proj.weight`,
    'mla.kva': `${attn}.kv_a_proj_with_mqa.weight`,
    'mla.kvaNorm': `${attn}.kv_a_layernorm.weight`,
    'mla.kb': perHead(`${attn}.kv_b_proj.weight`),
    'mla.vb': perHead(`${attn}.kv_b_proj.weight`),
    'mla.o': `${attn}.o_proj.weight`,
  },
  gguf: {
    architecture: 'deepseek2',
    keys: {
      ...sigmoidGgufKeys,
      'attention.q_lora_rank': 'q_lora_rank',
      'attention.kv_lora_rank': 'kv_lora_rank',
      'attention.head_count_kv': null,
      'attention.key_length': null,
      'attention.key_length_mla': null,
      'attention.value_length_mla': null,
    },
    implied,
    names: {
      'mla.q': `${blk}.attn_q.weight`,
      'mla.qa': `${blk}.attn_q_a.weight`,
      'mla.qaNorm': `${blk}.attn_q_a_norm.weight`,
      'mla.qb': `${blk}.attn_q_b.weight`,
      'mla.kva': `${blk}.attn_kv_a_mqa.weight`,
      'mla.kvaNorm': `${blk}.attn_kv_a_norm.weight`,
      'mla.kb': [`${blk}.attn_k_b.weight`, perHead(`${blk}.attn_kv_b.weight`)],
      'mla.vb': [`${blk}.attn_v_b.weight`, perHead(`${blk}.attn_kv_b.weight`)],
      'mla.o': `${blk}.attn_output.weight`,
    },
    draftBlocks: true,
  },
}
