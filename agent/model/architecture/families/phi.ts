/** Phi 3, 3.5, 4. */
import type { Family } from '../family.ts'
import { listedFactors } from '../gguf-rope.ts'
import { together } from '../names.ts'
import { attention, dense, windowEverywhere } from '../parts.ts'

export const phi3: Family = {
  name: 'Phi-3',
  models: 'Phi-3 mini and medium, Phi-3.5 mini, Phi-4, Phi-4-mini',
  classes: ['Phi3ForCausalLM'],
  modelTypes: ['phi3'],
  reads: 'sliding_window partial_rotary_factor',
  harmless: { full_attn_mod: [1], interpolate_factor: [1] },
  defaults: {
    vocab_size: 32_064,
    hidden_size: 3072,
    intermediate_size: 8192,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    hidden_act: 'silu',
    max_position_embeddings: 4096,
    original_max_position_embeddings: 4096,
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
  },
  layer: (values) => ({
    block: 'pre',
    mixer: attention(values, {
      mask: windowEverywhere(values),
      rope: { partial: true, longNames: ['su', 'yarn'] },
    }),
    feedForward: dense(values),
  }),
  names: {
    ...together('model.layers.{n}.self_attn.qkv_proj.weight', ['attention.q', 'attention.k', 'attention.v']),
    ...together('model.layers.{n}.mlp.gate_up_proj.weight', ['mlp.gate', 'mlp.up']),
  },
  gguf: {
    architecture: 'phi3',
    keys: { 'attention.sliding_window': 'sliding_window' },
    implied: listedFactors,
    names: {
      ...together('blk.{n}.attn_qkv.weight', ['attention.q', 'attention.k', 'attention.v']),
      ...together('blk.{n}.ffn_up.weight', ['mlp.gate', 'mlp.up']),
    },
  },
}
