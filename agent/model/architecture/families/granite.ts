/** Granite of IBM: a Llama with factors. */
import { caps, type ConfigValues } from '../config-values.ts'
import type { Family, GgufFacts } from '../family.ts'
import type { LayerSpec } from '../model-spec.ts'
import { permuted, together } from '../names.ts'
import { attention, dense, experts } from '../parts.ts'
import { llama } from './llama.ts'

const factorKeys = 'embedding_multiplier attention_multiplier residual_multiplier logits_scaling'

const factors = {
  ...llama.defaults,
  embedding_multiplier: 1,
  attention_multiplier: 1,
  residual_multiplier: 1,
  logits_scaling: 1,
}

const layerOf = (values: ConfigValues, feedForward: LayerSpec['feedForward']): LayerSpec => ({
  block: 'pre',
  branchScale: values.positive('residual_multiplier'),
  mixer: attention(values, {
    bias: { qkv: values.flag('attention_bias'), o: values.flag('attention_bias') },
    scale: values.positive('attention_multiplier'),
  }),
  feedForward,
})

const ggufKeys = {
  embedding_scale: 'embedding_multiplier',
  'attention.scale': 'attention_multiplier',
  residual_scale: 'residual_multiplier',
  logit_scale: 'logits_scaling',
}

const implied = (facts: GgufFacts) => ({
  ...llama.gguf?.implied?.(facts),
  embedding_multiplier: 1,
  residual_multiplier: 1,
})

export const granite: Family = {
  name: 'Granite',
  models: 'Granite 3.0 to 3.3, dense',
  classes: ['GraniteForCausalLM'],
  modelTypes: ['granite'],
  reads: `attention_bias mlp_bias ${factorKeys}`,
  defaults: factors,
  embeddingScale: (values) => values.positive('embedding_multiplier'),
  logits: (values) => ({ scale: 1 / values.positive('logits_scaling') }),
  layer: (values) => layerOf(values, dense(values, { bias: values.flag('mlp_bias') })),
  gguf: { architecture: 'granite', keys: ggufKeys, implied, names: permuted },
}

/** Experts, and in newer ones an MLP beside them that every token uses. */
const routed = (values: ConfigValues): LayerSpec['feedForward'] => {
  const spec = experts(values, { count: 'num_local_experts', ffn: 'intermediate_size' }, { score: 'chosenSoftmax' })
  const shared = values.optional('shared_intermediate_size', (key) => values.integer(key, 0, caps.ffn)) ?? 0
  return {
    activation: 'silu',
    gated: true,
    experts: shared === 0 ? spec : { ...spec, shared: { ffn: shared, gated: false } },
  }
}

const layer = 'model.layers.{n}'
const gateUp = ['mlp.experts.gate', 'mlp.experts.up']

export const graniteMoe: Family = {
  name: 'Granite MoE',
  models: 'Granite 3.0 and 3.1 1B-A400M, 3B-A800M',
  classes: ['GraniteMoeForCausalLM', 'GraniteMoeSharedForCausalLM'],
  modelTypes: ['granitemoe', 'granitemoeshared'],
  reads: `attention_bias ${factorKeys} num_local_experts num_experts_per_tok shared_intermediate_size`,
  defaults: { ...factors, num_local_experts: 8, num_experts_per_tok: 2 },
  embeddingScale: (values) => values.positive('embedding_multiplier'),
  logits: (values) => ({ scale: 1 / values.positive('logits_scaling') }),
  layer: (values) => layerOf(values, routed(values)),
  names: {
    'mlp.router': `${layer}.block_sparse_moe.router.layer.weight`,
    ...together(`${layer}.block_sparse_moe.input_linear.weight`, gateUp, 'expert'),
    'mlp.experts.down': `${layer}.block_sparse_moe.output_linear.weight`,
    ...together(`${layer}.shared_mlp.input_linear.weight`, ['mlp.shared.gate', 'mlp.shared.up']),
    'mlp.shared.down': `${layer}.shared_mlp.output_linear.weight`,
  },
  gguf: {
    architecture: 'granitemoe',
    keys: {
      ...ggufKeys,
      expert_count: 'num_local_experts',
      expert_used_count: 'num_experts_per_tok',
      expert_shared_feed_forward_length: 'shared_intermediate_size',
    },
    implied,
    names: permuted,
  },
}
