/** gpt-oss of OpenAI. */
import type { Family } from '../family.ts'
import { attention, experts, layerKind, maskOf } from '../parts.ts'

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
}
