/** Granite of IBM: a Llama with factors. */
import type { Family } from '../family.ts'
import { permuted } from '../names.ts'
import { attention, dense } from '../parts.ts'
import { llama } from './llama.ts'

export const granite: Family = {
  name: 'Granite',
  models: 'Granite 3.0 to 3.3, dense',
  classes: ['GraniteForCausalLM'],
  modelTypes: ['granite'],
  reads: 'attention_bias mlp_bias embedding_multiplier attention_multiplier residual_multiplier logits_scaling',
  defaults: {
    ...llama.defaults,
    embedding_multiplier: 1,
    attention_multiplier: 1,
    residual_multiplier: 1,
    logits_scaling: 1,
  },
  embeddingScale: (values) => values.positive('embedding_multiplier'),
  logits: (values) => ({ scale: 1 / values.positive('logits_scaling') }),
  layer: (values) => ({
    block: 'pre',
    branchScale: values.positive('residual_multiplier'),
    mixer: attention(values, {
      bias: { qkv: values.flag('attention_bias'), o: values.flag('attention_bias') },
      scale: values.positive('attention_multiplier'),
    }),
    feedForward: dense(values, { bias: values.flag('mlp_bias') }),
  }),
  gguf: {
    architecture: 'granite',
    keys: {
      embedding_scale: 'embedding_multiplier',
      'attention.scale': 'attention_multiplier',
      residual_scale: 'residual_multiplier',
      logit_scale: 'logits_scaling',
    },
    implied: (facts) => ({ ...llama.gguf?.implied?.(facts), embedding_multiplier: 1, residual_multiplier: 1 }),
    names: permuted,
  },
}
