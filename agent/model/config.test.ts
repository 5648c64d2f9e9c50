/** config.json and its neighbours: both spellings of rope, and keys that would change the text unnoticed. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { type FolderConfig, readConfig } from './config.ts'
import { type Rope, ropeDivisors, ropeFrequencies } from './rope.ts'

const base = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: 300,
  hidden_size: 16,
  intermediate_size: 40,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  hidden_act: 'silu',
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
}

const folderOf = (t: TestContext): string => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-config-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

type Read = (change: object, generation?: object) => FolderConfig

const reader = (t: TestContext): Read => {
  const folder = folderOf(t)
  return (change, generation) => {
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...base, ...change }))
    rmSync(join(folder, 'generation_config.json'), { force: true })
    if (generation) writeFileSync(join(folder, 'generation_config.json'), JSON.stringify(generation))
    return readConfig(folder)
  }
}

const llama3 = { factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 }
const llama31: Rope = {
  theta: 500_000,
  scaling: { kind: 'llama3', factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalContext: 8192 },
}

test('rope: the spellings of transformers 4 and 5 mean the same', (t) => {
  const read = reader(t)
  for (const change of [
    { rope_theta: 500_000 },
    { rope_theta: 500_000, rope_scaling: null },
    { rope_theta: 500_000, rope_scaling: { rope_type: 'default' } },
    { rope_theta: 500_000, rope_scaling: { type: 'default' } },
    { rope_parameters: { rope_theta: 500_000, rope_type: 'default' } },
    { rope_parameters: { rope_theta: 500_000, rope_type: 'default', factor: null, partial_rotary_factor: 1 } },
    { rope_parameters: { rope_theta: 500_000 }, rope_theta: 500_000 },
    { rope_parameters: { rope_type: 'default' }, rope_theta: 500_000 },
    { rope_parameters: null, rope_theta: 500_000 },
    { rope_parameters: { rope_type: 'default', rope_theta: 500_000 }, rope_scaling: { type: 'default', factor: null } },
  ])
    assert.deepEqual(read(change).rope, { theta: 500_000 }, JSON.stringify(change))
  for (const change of [
    { rope_theta: 500_000, rope_scaling: { ...llama3, rope_type: 'llama3' } },
    { rope_theta: 500_000, rope_scaling: { ...llama3, rope_type: 'llama3', type: 'llama3' } },
    { rope_parameters: { ...llama3, rope_type: 'llama3', rope_theta: 500_000 } },
    {
      rope_theta: 500_000,
      rope_parameters: { ...llama3, rope_type: 'llama3' },
      rope_scaling: { ...llama3, type: 'llama3' },
    },
    {
      rope_parameters: { ...llama3, original_max_position_embeddings: undefined, rope_type: 'llama3', rope_theta: 5e5 },
      original_max_position_embeddings: 8192,
    },
  ])
    assert.deepEqual(read(change).rope, llama31, JSON.stringify(change))
  assert.deepEqual(read({}).rope, { theta: 10_000 })
  assert.deepEqual(read({ rope_parameters: {} }).rope, { theta: 10_000 })
})

test('rope: what is not computed, or contradicts itself, is refused with key and value', (t) => {
  const read = reader(t)
  for (const [change, message] of [
    [{ rope_scaling: { type: 'linear', factor: 2 } }, /rope scaling linear/],
    [{ rope_scaling: { type: 'dynamic', factor: 2 } }, /rope_scaling .*dynamic.*llama3/],
    [{ rope_parameters: { rope_type: 'yarn', factor: 4, rope_theta: 1e4 } }, /yarn/],
    [
      { rope_parameters: { full_attention: { rope_type: 'default' }, sliding_attention: { rope_type: 'default' } } },
      /sliding_attention/,
    ],
    [{ rope_parameters: { rope_type: 'default', rope_theta: 1e4, mrope_section: [1, 2] } }, /mrope_section/],
    [{ rope_parameters: { rope_type: 'default', partial_rotary_factor: 0.5 } }, /partial_rotary_factor is 0\.5/],
    [{ rope_parameters: { ...llama3, rope_type: 'llama3', attention_factor: 1.2 } }, /attention_factor is 1\.2/],
    [{ rope_parameters: { rope_type: 'toString' } }, /toString/],
    [{ rope_parameters: [500_000] }, /rope_parameters is \[500000\]/],
    [{ rope_parameters: { rope_theta: 500_000 }, rope_theta: 10_000 }, /rope_theta is 10000; but 500000/],
    [{ rope_parameters: { rope_theta: 0 } }, /rope_theta is 0/],
    [{ rope_parameters: { rope_theta: '500000' } }, /rope_theta is "500000"/],
    [{ rope_scaling: { type: 'linear', rope_type: 'llama3', ...llama3 } }, /two types/],
    [{ rope_scaling: { rope_type: 'llama3', ...llama3 }, rope_parameters: { rope_type: 'default' } }, /contradict/],
    [
      { rope_scaling: { type: 'linear', ...llama3 }, rope_parameters: { rope_type: 'llama3', ...llama3 } },
      /contradict/,
    ],
    [{ rope_scaling: { ...llama3, rope_type: 'llama3', factor: undefined } }, /rope_scaling\.factor is undefined/],
    [{ rope_scaling: { ...llama3, rope_type: 'llama3', factor: 0.5 } }, /factor is 0\.5/],
    [{ rope_scaling: { ...llama3, rope_type: 'llama3', low_freq_factor: 4 } }, /low_freq_factor must be below/],
    [
      { rope_scaling: { ...llama3, rope_type: 'llama3', original_max_position_embeddings: undefined } },
      /original_max_position_embeddings/,
    ],
  ] as const)
    assert.throws(() => read(change), { code: 'modelConfigInvalid', message }, JSON.stringify(change))
})

/** Made by a Python transcription of transformers' `_compute_llama3_parameters` (float64). */
const goldens = [
  {
    name: 'Llama 3.1 8B',
    rope: llama31,
    headDim: 128,
    pairs: {
      0: 1,
      1: 0.8146172338565447,
      28: 0.0032114459947525913,
      32: 0.0005248461609929547,
      63: 3.068925988914511e-7,
    },
  },
  {
    name: 'Llama 3.2 1B',
    rope: { ...llama31, scaling: { ...llama31.scaling, factor: 32 } } as Rope,
    headDim: 64,
    pairs: { 1: 0.6636012376960885, 12: 0.0072926647372171085, 16: 0.00042955679655936815, 31: 9.418306725434909e-8 },
  },
]

for (const { name, rope, headDim, pairs } of goldens) {
  test(`rope: frequencies of ${name} are those of transformers`, () => {
    const got = ropeFrequencies(rope, headDim)
    for (const [pair, want] of Object.entries(pairs))
      assert.ok(Math.abs(got[Number(pair)] / want - 1) < 1e-12, `pair ${pair}: ${got[Number(pair)]}`)
    const divisors = ropeDivisors(rope, headDim)
    assert.equal(divisors[0], 1)
    assert.equal(divisors.at(-1), rope.scaling?.factor)
    assert.deepEqual(divisors, divisors.toSorted())
  })
}

test('config: a key that changes the result and is not computed is refused, with its value', (t) => {
  const read = reader(t)
  for (const [change, message] of [
    [
      { quantization_config: { quant_method: 'gptq', bits: 4 } },
      /quantization_config is .*gptq.*weights that others did not quantise/,
    ],
    [{ quantization: { group_size: 64, bits: 4 } }, /quantization is .*"bits":4/],
    [{ attention_bias: 'no' }, /attention_bias is "no"; it must be true or false/],
    [{ hidden_act: 'gelu' }, /hidden_act is "gelu"; supported is "silu"/],
    [{ model_type: 'mistral' }, /model_type is "mistral"/],
    [{ sliding_window: 32 }, /sliding_window is 32/],
    [{ layer_types: ['full_attention', 'sliding_attention'] }, /layer_types/],
    [{ use_qk_norm: true }, /use_qk_norm/],
    [{ partial_rotary_factor: 0.75 }, /partial_rotary_factor is 0\.75/],
    [{ embedding_multiplier: 12 }, /embedding_multiplier is 12/],
    [{ final_logit_softcapping: 30 }, /final_logit_softcapping/],
    [{ num_local_experts: 8 }, /num_local_experts/],
    [{ text_config: { hidden_size: 3 } }, /text_config .*not known/],
    [{ something_new: false }, /something_new is false; this key is not known/],
    [{ __proto__: null, constructor: 'x' }, /constructor is "x"/],
    [{ layer_norm_eps: 1e-6 }, /layer_norm_eps is 0\.000001; supported is the value of rms_norm_eps/],
  ] as const)
    assert.throws(() => read(change), { code: 'modelConfigInvalid', message }, JSON.stringify(change))
  for (const [generation, message] of [
    [{ suppress_tokens: [1, 2] }, /generation_config.json: suppress_tokens is \[1,2\]/],
    [{ no_repeat_ngram_size: 3 }, /no_repeat_ngram_size is 3/],
    [{ something_new: 1 }, /something_new is 1; this key is not known/],
  ] as const)
    assert.throws(() => read({}, generation), { code: 'modelConfigInvalid', message }, JSON.stringify(generation))
})

/** Settings of relatives of Llama, by the one value that says "as Llama does it". */
const asLlama: readonly (readonly [unknown, unknown, string])[] = [
  [
    false,
    true,
    'qkv_bias use_qkv_bias use_bias bias lm_head_bias attention_out_bias add_bias_linear qk_norm use_qk_norm ' +
      'qk_layernorm use_alibi alibi rope_interleaved rotary_interleaved parallel_attn use_parallel_residual ' +
      'normalize_embeddings use_sliding_window attention_sinks use_cla use_mla is_encoder_decoder ' +
      'add_cross_attention',
  ],
  [true, false, 'no_bias use_rope is_causal'],
  [
    1,
    2,
    'partial_rotary_factor rotary_pct rope_pct embedding_multiplier residual_multiplier logits_scaling ' +
      'logit_scale scale_emb embed_scale',
  ],
  [
    0,
    4,
    'no_rope_layer_interval num_experts num_local_experts n_routed_experts num_experts_per_tok ' +
      'num_nextn_predict_layers no_repeat_ngram_size',
  ],
  [
    null,
    8,
    'attention_multiplier scale_depth clip_qkv final_logit_softcapping attn_logit_softcapping ' +
      'sliding_window_pattern attention_chunk_size prefix',
  ],
]

test('config: settings of other families pass where they say what Llama does, and nowhere else', (t) => {
  const read = reader(t)
  for (const [harmless, other, keys] of asLlama) {
    for (const key of keys.split(' ')) {
      read({ [key]: harmless })
      assert.throws(
        () => read({ [key]: other }),
        { code: 'modelConfigInvalid', message: new RegExp(`: ${key} is `) },
        key,
      )
    }
  }
})

/**
 * Keys as the published files of Llama 2, Llama 3.x, TinyLlama, SmolLM2, DeepSeek distills and their copies have them.
 */
const published = {
  _name_or_path: 'meta-llama/Llama-3.2-1B',
  attention_bias: false,
  attention_dropout: 0,
  bos_token_id: 128_000,
  eos_token_id: [128_001, 128_008, 128_009],
  head_dim: 8,
  initializer_range: 0.02,
  mlp_bias: false,
  pad_token_id: null,
  pretraining_tp: 2,
  rope_theta: 500_000,
  rope_scaling: { ...llama3, rope_type: 'llama3' },
  tie_word_embeddings: true,
  torch_dtype: 'bfloat16',
  dtype: 'bfloat16',
  transformers_version: '4.45.0.dev0',
  use_cache: true,
  max_sequence_length: 2048,
  unsloth_fixed: true,
  is_llama_config: true,
  rope_interleaved: false,
  'transformers.js_config': { kv_cache_dtype: { fp16: 'float16' } },
  auto_map: {},
  quantization_config: null,
  sliding_window: null,
  use_sliding_window: false,
  max_window_layers: 20,
  layer_types: ['full_attention', 'full_attention'],
  _attn_implementation_autoset: true,
  id2label: { 0: 'a' },
  num_labels: 2,
  layer_norm_eps: 1e-5,
  pruned_heads: {},
  anything_new: null,
}

test('config: keys that are known to be harmless are passed over', (t) => {
  const read = reader(t)
  const generation = {
    _from_model_config: true,
    bos_token_id: 1,
    eos_token_id: [5, 128_009],
    do_sample: true,
    temperature: 0.6,
    top_p: 0.9,
    max_length: 4096,
    transformers_version: '5.0.0',
    no_repeat_ngram_size: 0,
    remove_invalid_values: false,
    token_healing: false,
    suppress_tokens: [],
    sequence_bias: {},
  }
  const config = read(published, generation)
  assert.deepEqual(config.rope, llama31)
  assert.deepEqual(config.eosTokenIds, [128_001, 128_008, 128_009, 5])
  assert.equal(config.tiedEmbeddings, true)
  assert.equal(read({ num_key_value_heads: null }).shape.kvHeads, 2)
  assert.equal(read({ sliding_window: 64 }).shape.context, 64)
})
