/** OLMo 2 and 3 of Ai2: norms behind the halves of a layer, and over all of q and k. */
import type { Family } from '../family.ts'
import { attention, dense, layerKind, maskOf, projectionNorm } from '../parts.ts'

const names = {
  'attention.postNorm': 'model.layers.{n}.post_attention_layernorm.weight',
  'mlp.postNorm': 'model.layers.{n}.post_feedforward_layernorm.weight',
}

export const olmo2: Family = {
  name: 'OLMo 2',
  models: 'OLMo 2 1B to 32B',
  classes: ['Olmo2ForCausalLM'],
  modelTypes: ['olmo2'],
  defaults: {
    vocab_size: 50_304,
    hidden_size: 4096,
    intermediate_size: 11_008,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    hidden_act: 'silu',
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
  },
  layer: (values) => ({
    block: 'post',
    mixer: attention(values, { qkNorm: projectionNorm }),
    feedForward: dense(values),
  }),
  names,
  gguf: {
    architecture: 'olmo2',
    when: ({ value }) => value('attention.sliding_window') === undefined,
  },
}

export const olmo3: Family = {
  name: 'OLMo 3',
  models: 'OLMo 3 7B, 32B',
  classes: ['Olmo3ForCausalLM'],
  modelTypes: ['olmo3'],
  reads: 'sliding_window layer_types',
  defaults: { ...olmo2.defaults, sliding_window: 4096 },
  layer: (values, index) => {
    const kind = layerKind(values, index, (layer) => ((layer + 1) % 4 === 0 ? 'full_attention' : 'sliding_attention'))
    return {
      block: 'post',
      mixer: attention(values, {
        qkNorm: projectionNorm,
        mask: maskOf(values, kind),
        rope: { layerKind: kind, unscaled: kind === 'sliding_attention' },
      }),
      feedForward: dense(values),
    }
  },
  names,
  gguf: {
    architecture: 'olmo2',
    when: ({ value }) => value('attention.sliding_window') !== undefined,
    keys: {
      'attention.sliding_window': 'sliding_window',
      'attention.sliding_window_pattern': null,
      'rope.freq_base_swa': null,
    },
  },
}
