/** EXAONE 4 of LG AI Research: norms behind the halves of a layer; where windows slide, other layers have no rope. */
import { caps, type ConfigValues } from '../config-values.ts'
import type { Family, GgufFacts } from '../family.ts'
import { attention, dense, headNorm, type LayerKind, layerKind, maskOf } from '../parts.ts'

/** Windows are everywhere but in every so many layers; where there is none, all layers see everything. */
const kindOf = (values: ConfigValues, index: number): LayerKind => {
  if (!values.has('sliding_window')) return 'full_attention'
  return layerKind(values, index, (layer) =>
    (layer + 1) % values.size('sliding_window_pattern', caps.layers) === 0 ? 'full_attention' : 'sliding_attention',
  )
}

/** Which layers slide may be a list. */
const implied = ({ value }: GgufFacts) => {
  const slides = value('attention.sliding_window_pattern')
  return {
    sliding_window_pattern: 4,
    ...(Array.isArray(slides) && {
      layer_types: slides.map((flag) => (flag ? 'sliding_attention' : 'full_attention')),
    }),
  }
}

export const exaone4: Family = {
  name: 'EXAONE 4',
  models: 'EXAONE 4.0 1.2B, 32B',
  classes: ['Exaone4ForCausalLM'],
  modelTypes: ['exaone4'],
  reads: 'sliding_window sliding_window_pattern layer_types',
  defaults: {
    vocab_size: 102_400,
    hidden_size: 4096,
    intermediate_size: 16_384,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 32,
    hidden_act: 'silu',
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
    sliding_window: 4096,
    sliding_window_pattern: 4,
  },
  layer: (values, index) => {
    const kind = kindOf(values, index)
    const isHybrid = values.has('sliding_window')
    return {
      block: 'post',
      mixer: attention(values, {
        qkNorm: headNorm,
        mask: maskOf(values, kind),
        ...(isHybrid && kind === 'full_attention' && { rope: false }),
      }),
      feedForward: dense(values),
    }
  },
  names: {
    'attention.postNorm': 'model.layers.{n}.post_attention_layernorm.weight',
    'mlp.postNorm': 'model.layers.{n}.post_feedforward_layernorm.weight',
  },
  gguf: {
    architecture: 'exaone4',
    keys: {
      'attention.sliding_window': 'sliding_window',
      'attention.sliding_window_pattern': null,
      'rope.freq_base_swa': null,
    },
    implied,
    draftBlocks: true,
  },
}
