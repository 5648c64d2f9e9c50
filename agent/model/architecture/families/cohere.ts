/** Command models of Cohere: both halves of a layer read one norm, which takes the mean away. */
import { caps } from '../config-values.ts'
import type { Family } from '../family.ts'
import { attention, dense, layerKind, maskOf } from '../parts.ts'

const blockKeys = {
  use_parallel_block: [true],
  use_gated_activation: [true],
  position_embedding_type: ['rope_gptj', 'rope', 'rotary'],
  use_embedding_sharing: [true],
}

const defaults = {
  vocab_size: 256_000,
  hidden_size: 8192,
  intermediate_size: 22_528,
  logit_scale: 0.0625,
  num_hidden_layers: 40,
  num_attention_heads: 64,
  hidden_act: 'silu',
  max_position_embeddings: 8192,
  layer_norm_eps: 1e-5,
  rope_theta: 10_000,
  tie_word_embeddings: true,
}

export const cohere: Family = {
  name: 'Cohere',
  models: 'Command R (without norms of q and k)',
  classes: ['CohereForCausalLM'],
  modelTypes: ['cohere'],
  reads: 'attention_bias logit_scale layer_norm_eps',
  harmless: blockKeys,
  defaults,
  epsilon: 'layer_norm_eps',
  norm: 'layer',
  logits: (values) => ({ scale: values.positive('logit_scale') }),
  layer: (values) => ({
    block: 'parallel',
    mixer: attention(values, {
      bias: { qkv: values.flag('attention_bias'), o: values.flag('attention_bias') },
      pairing: 'interleaved',
    }),
    feedForward: dense(values),
  }),
  gguf: {
    architecture: 'command-r',
    keys: { logit_scale: 'logit_scale' },
    // a file without a scale has none
    implied: () => ({ logit_scale: 1 }),
  },
}

export const cohere2: Family = {
  name: 'Cohere 2',
  models: 'Command R7B, Command A',
  classes: ['Cohere2ForCausalLM'],
  modelTypes: ['cohere2'],
  reads: 'attention_bias logit_scale layer_norm_eps sliding_window sliding_window_pattern layer_types',
  ignores: 'cache_implementation order_of_interleaved_layers _sliding_window_pattern use_parallel_embedding',
  harmless: { ...blockKeys, rotary_pct: [1] },
  defaults: { ...defaults, sliding_window: 4096, sliding_window_pattern: 4 },
  epsilon: 'layer_norm_eps',
  norm: 'layer',
  logits: (values) => ({ scale: values.positive('logit_scale') }),
  layer: (values, index) => {
    const every = values.size('sliding_window_pattern', caps.layers)
    const kind = layerKind(values, index, (layer) =>
      (layer + 1) % every === 0 ? 'full_attention' : 'sliding_attention',
    )
    const bias = values.flag('attention_bias')
    return {
      block: 'parallel',
      mixer: attention(values, {
        bias: { qkv: bias, o: bias },
        mask: maskOf(values, kind),
        pairing: 'interleaved',
        // only layers that slide tell positions apart
        ...(kind === 'full_attention' && { rope: false }),
      }),
      feedForward: dense(values),
    }
  },
  gguf: {
    architecture: 'cohere2',
    keys: {
      logit_scale: 'logit_scale',
      'attention.sliding_window': 'sliding_window',
      'attention.sliding_window_pattern': null,
      'rope.freq_base_swa': null,
    },
    implied: () => ({ sliding_window_pattern: 4 }),
  },
}
