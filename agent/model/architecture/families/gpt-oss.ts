/** gpt-oss of OpenAI. */
import type { Family } from '../family.ts'
import type { Names } from '../naming.ts'
import { attention, experts, layerKind, maskOf } from '../parts.ts'

const mlp = 'model.layers.{n}.mlp'
const gateUp = ['mlp.experts.gate', 'mlp.experts.up']

/** Rows of gate and up lie by turns; in files that are not in MXFP4 they are columns. */
const inOne = (part: string, parts: readonly string[]): Names => ({
  [`mlp.experts.${part}`]: [
    { name: `${mlp}.experts.gate_up_proj`, together: parts, per: 'row', transposed: 'expert' },
    { name: `${mlp}.experts.gate_up_proj_blocks`, together: parts, per: 'row' },
  ],
  [`mlp.experts.${part}.bias`]: {
    name: `${mlp}.experts.gate_up_proj_bias`,
    together: parts.map((one) => `${one}.bias`),
    per: 'row',
  },
})

export const gptOss: Family = {
  name: 'gpt-oss',
  models: 'gpt-oss-20b, gpt-oss-120b',
  classes: ['GptOssForCausalLM'],
  modelTypes: ['gpt_oss'],
  reads: `attention_bias sliding_window layer_types num_local_experts num_experts_per_tok swiglu_limit swiglu_alpha`,
  ignores: 'initial_context_length',
  harmless: {
    experts_per_token: {
      says: 'the value of num_experts_per_tok',
      holds: (value, keys) => value === (keys.num_experts_per_tok ?? 4),
    },
  },
  defaults: {
    vocab_size: 201_088,
    hidden_size: 2880,
    intermediate_size: 2880,
    num_hidden_layers: 36,
    num_attention_heads: 64,
    num_key_value_heads: 8,
    head_dim: 64,
    hidden_act: 'silu',
    max_position_embeddings: 131_072,
    rms_norm_eps: 1e-5,
    rope_theta: 150_000,
    rope_scaling: {
      rope_type: 'yarn',
      factor: 32,
      beta_fast: 32,
      beta_slow: 1,
      truncate: false,
      original_max_position_embeddings: 4096,
    },
    attention_bias: true,
    sliding_window: 128,
    num_local_experts: 128,
    num_experts_per_tok: 4,
    swiglu_alpha: 1.702,
    swiglu_limit: 7,
  },
  layer: (values, index) => {
    const bias = values.flag('attention_bias')
    const kind = layerKind(values, index, (layer) => (layer % 2 === 0 ? 'sliding_attention' : 'full_attention'))
    return {
      block: 'pre',
      mixer: attention(values, {
        bias: { qkv: bias, o: bias },
        mask: maskOf(values, kind),
        extra: { sinks: true },
      }),
      feedForward: {
        activation: {
          kind: 'clampedGlu',
          alpha: values.positive('swiglu_alpha'),
          limit: values.positive('swiglu_limit'),
        },
        gated: true,
        experts: experts(
          values,
          { count: 'num_local_experts', ffn: 'intermediate_size' },
          { score: 'chosenSoftmax', routerBias: true, bias: true },
        ),
      },
    }
  },
  names: {
    'mlp.router': `${mlp}.router.weight`,
    'mlp.router.bias': `${mlp}.router.bias`,
    ...inOne('gate', gateUp),
    ...inOne('up', gateUp),
    'mlp.experts.down': [{ name: `${mlp}.experts.down_proj`, transposed: 'expert' }, `${mlp}.experts.down_proj_blocks`],
    'mlp.experts.down.bias': `${mlp}.experts.down_proj_bias`,
  },
  gguf: {
    architecture: 'gpt-oss',
    keys: {
      expert_count: 'num_local_experts',
      expert_used_count: 'num_experts_per_tok',
      expert_feed_forward_length: 'intermediate_size',
      'attention.sliding_window': 'sliding_window',
    },
    implied: () => ({ attention_bias: true, swiglu_alpha: 1.702, swiglu_limit: 7, rope_truncate: false }),
    names: { 'mlp.norm': 'blk.{n}.post_attention_norm.weight' },
  },
}
