/** Llama and those that differ from it in a few keys. */
import type { Family } from '../family.ts'
import { permuted } from '../names.ts'
import { attention, dense, experts, layerKind, maskOf, windowEverywhere } from '../parts.ts'

export const llama: Family = {
  name: 'Llama',
  models: 'Llama 2, 3, 3.1, 3.2, 3.3; TinyLlama, SmolLM2, DeepSeek R1 distills',
  classes: ['LlamaForCausalLM'],
  modelTypes: ['llama'],
  reads: 'attention_bias mlp_bias',
  defaults: {
    vocab_size: 32_000,
    hidden_size: 4096,
    intermediate_size: 11_008,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    hidden_act: 'silu',
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-6,
    rope_theta: 10_000,
  },
  layer: (values) => ({
    block: 'pre',
    mixer: attention(values, { bias: { qkv: values.flag('attention_bias'), o: values.flag('attention_bias') } }),
    feedForward: dense(values, { bias: values.flag('mlp_bias') }),
  }),
  gguf: {
    architecture: 'llama',
    when: ({ value }) => !value('expert_count'),
    keys: { expert_count: null, expert_used_count: null },
    implied: ({ tensors }) => ({
      attention_bias: tensors.has('blk.0.attn_q.bias') || tensors.has('blk.0.attn_qkv.bias'),
      mlp_bias: tensors.has('blk.0.ffn_gate.bias'),
    }),
    names: permuted,
  },
}

const mistralDefaults = {
  ...llama.defaults,
  intermediate_size: 14_336,
  num_key_value_heads: 8,
  max_position_embeddings: 131_072,
  sliding_window: 4096,
}

export const mistral: Family = {
  name: 'Mistral',
  models: 'Mistral 7B, Nemo, Small (also 3.1 and later); Codestral, Devstral, Ministral 8B',
  classes: ['MistralForCausalLM'],
  modelTypes: ['mistral'],
  wrappers: ['Mistral3ForConditionalGeneration'],
  reads: 'sliding_window',
  defaults: mistralDefaults,
  layer: (values) => ({
    block: 'pre',
    mixer: attention(values, { mask: windowEverywhere(values) }),
    feedForward: dense(values),
  }),
  // llama.cpp has no other name for it: such a file is read as a Llama
  gguf: { architecture: 'llama', when: () => false, names: permuted },
}

export const mixtral: Family = {
  name: 'Mixtral',
  models: 'Mixtral 8x7B, 8x22B',
  classes: ['MixtralForCausalLM'],
  modelTypes: ['mixtral'],
  reads: 'sliding_window num_local_experts num_experts_per_tok',
  ignores: 'router_jitter_noise',
  defaults: {
    ...mistralDefaults,
    rms_norm_eps: 1e-5,
    rope_theta: 1_000_000,
    sliding_window: null,
    num_local_experts: 8,
    num_experts_per_tok: 2,
  },
  layer: (values) => ({
    block: 'pre',
    mixer: attention(values, { mask: windowEverywhere(values) }),
    feedForward: {
      activation: 'silu',
      gated: true,
      experts: experts(values, { count: 'num_local_experts', ffn: 'intermediate_size' }, { score: 'chosenSoftmax' }),
    },
  }),
  names: {
    'mlp.router': 'model.layers.{n}.block_sparse_moe.gate.weight',
    'mlp.experts.gate': 'model.layers.{n}.block_sparse_moe.experts.{e}.w1.weight',
    'mlp.experts.down': 'model.layers.{n}.block_sparse_moe.experts.{e}.w2.weight',
    'mlp.experts.up': 'model.layers.{n}.block_sparse_moe.experts.{e}.w3.weight',
  },
  gguf: {
    architecture: 'llama',
    when: ({ value }) => Boolean(value('expert_count')),
    keys: { expert_count: 'num_local_experts', expert_used_count: 'num_experts_per_tok' },
    names: permuted,
  },
}

export const smollm3: Family = {
  name: 'SmolLM3',
  models: 'SmolLM3 3B',
  classes: ['SmolLM3ForCausalLM'],
  modelTypes: ['smollm3'],
  reads: 'attention_bias mlp_bias no_rope_layers no_rope_layer_interval use_sliding_window sliding_window layer_types',
  ignores: 'max_window_layers',
  defaults: {
    ...llama.defaults,
    vocab_size: 128_256,
    hidden_size: 2048,
    num_hidden_layers: 36,
    num_attention_heads: 16,
    num_key_value_heads: 4,
    max_position_embeddings: 32_768,
    rope_theta: 2_000_000,
    tie_word_embeddings: true,
    no_rope_layer_interval: 4,
  },
  layer: (values, index) => {
    const isFlag = (value: unknown): value is 0 | 1 => value === 0 || value === 1
    const turns = values.has('no_rope_layers')
      ? values.list('no_rope_layers', values.layers, isFlag, '0 or 1')[index] === 1
      : (index + 1) % values.size('no_rope_layer_interval', 1024) !== 0
    const slides = values.flag('use_sliding_window') && values.has('sliding_window')
    const kind = layerKind(values, index, () => (slides && !turns ? 'sliding_attention' : 'full_attention'))
    const bias = values.flag('attention_bias')
    return {
      block: 'pre',
      mixer: attention(values, {
        bias: { qkv: bias, o: bias },
        mask: maskOf(values, slides ? kind : 'full_attention'),
        ...(!turns && { rope: false }),
      }),
      feedForward: dense(values, { bias: values.flag('mlp_bias') }),
    }
  },
  gguf: { architecture: 'smollm3', names: permuted, implied: () => ({ no_rope_layer_interval: 4 }) },
}
