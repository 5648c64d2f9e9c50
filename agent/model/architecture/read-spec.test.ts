/** The table of families: what config.json of each makes, and what of it is refused. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Json } from '../json.ts'
import type { AttentionSpec, ExpertsSpec, ModelSpec } from './model-spec.ts'
import { publishedConfigs } from './published.ts'
import { readSpec } from './read-spec.ts'

const read = (config: Json): ModelSpec => readSpec(config, { file: 'config.json' }).spec
const mixerOf = (spec: ModelSpec, layer: number): AttentionSpec => spec.kinds[spec.layers[layer]].mixer as AttentionSpec
const expertsOf = (spec: ModelSpec, layer: number): ExpertsSpec =>
  spec.kinds[spec.layers[layer]].feedForward.experts as ExpertsSpec
const near = (got: number, want: number, what: string): void =>
  assert.ok(Math.abs(got / want - 1) < 1e-9, `${what}: ${got}, not ${want}`)

test('families: published models make the parts that their makers describe', () => {
  const qwen = read(publishedConfigs['qwen3-30b-a3b'])
  assert.deepEqual(
    { ...mixerOf(qwen, 0), rope: undefined },
    {
      kind: 'attention',
      heads: 32,
      kvHeads: 4,
      headDim: 128,
      scale: 128 ** -0.5,
      bias: { qkv: false, o: false },
      qkNorm: { over: 'head', kind: 'rms', weight: true, when: 'beforeRope' },
      mask: { kind: 'full' },
      rope: undefined,
    },
  )
  assert.deepEqual(expertsOf(qwen, 47), {
    count: 128,
    used: 8,
    ffn: 768,
    score: 'softmax',
    routerBias: false,
    choiceBias: false,
    factor: 1,
    bias: false,
    renormalise: { epsilon: 0 },
  })
  assert.equal(qwen.kinds.length, 1)
  const oss = read(publishedConfigs['gpt-oss-20b'])
  assert.deepEqual(oss.layers.slice(0, 3), [0, 1, 0])
  assert.deepEqual(mixerOf(oss, 0).mask, { kind: 'window', window: 128 })
  assert.deepEqual(mixerOf(oss, 1).mask, { kind: 'full' })
  assert.equal(mixerOf(oss, 0).sinks, true)
  assert.deepEqual(oss.kinds[0].feedForward.activation, { kind: 'clampedGlu', alpha: 1.702, limit: 7 })
  assert.equal(expertsOf(oss, 0).score, 'chosenSoftmax')
  near(mixerOf(oss, 0).rope?.magnitude ?? 0, 0.1 * Math.log(32) + 1, 'magnitude')
  for (const config of Object.values(publishedConfigs)) read(config)
})

const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32_768 }
const base: Record<string, Json> = {
  qwen2: { architectures: ['Qwen2ForCausalLM'], model_type: 'qwen2', num_hidden_layers: 4 },
  gemma3: {
    architectures: ['Gemma3ForCausalLM'],
    model_type: 'gemma3_text',
    hidden_activation: 'gelu_pytorch_tanh',
    num_hidden_layers: 12,
    torch_dtype: 'bfloat16',
    hidden_size: 1152,
    sliding_window: 512,
  },
  phi3: { architectures: ['Phi3ForCausalLM'], model_type: 'phi3', num_hidden_layers: 2 },
  smollm3: { architectures: ['SmolLM3ForCausalLM'], model_type: 'smollm3', num_hidden_layers: 8 },
  mistral: { architectures: ['MistralForCausalLM'], model_type: 'mistral', num_hidden_layers: 2 },
}

test('families: keys that are absent are those of the class, null says none', () => {
  assert.deepEqual(mixerOf(read(base.mistral), 0).mask, { kind: 'window', window: 4096 })
  assert.deepEqual(mixerOf(read({ ...base.mistral, sliding_window: null }), 0).mask, { kind: 'full' })
  assert.equal(mixerOf(read({ ...base.mistral, num_key_value_heads: null }), 0).kvHeads, 32)
  const gemma = read(base.gemma3)
  assert.deepEqual(gemma.layers, [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1])
  assert.equal(gemma.embeddingScale, 34)
  assert.equal(gemma.tied, true)
  near(read({ ...base.gemma3, torch_dtype: 'float32' }).embeddingScale, Math.sqrt(1152), 'scale')
  near(mixerOf(gemma, 0).rope?.frequencies[1] ?? 0, 10_000 ** (-2 / 256), 'theta of sliding layers')
  near(mixerOf(gemma, 5).rope?.frequencies[1] ?? 0, 1_000_000 ** (-2 / 256), 'theta of full layers')
  const smollm = read(base.smollm3)
  assert.deepEqual(smollm.layers, [0, 0, 0, 1, 0, 0, 0, 1])
  assert.equal(mixerOf(smollm, 3).rope, undefined)
  const qwen = read({ ...base.qwen2, sliding_window: 1000 })
  assert.deepEqual(mixerOf(qwen, 3).mask, { kind: 'full' })
  assert.deepEqual(mixerOf(qwen, 3).bias, { qkv: true, o: false })
  const slides = read({ ...base.qwen2, use_sliding_window: true, sliding_window: 1000, max_window_layers: 3 })
  assert.deepEqual(slides.layers, [0, 0, 0, 1])
})

test('families: each spelling of rope makes the same frequencies', () => {
  const old = { ...base.gemma3, rope_scaling: { rope_type: 'linear', factor: 8 }, rope_theta: 1e6 }
  const parts = {
    full_attention: { rope_type: 'linear', factor: 8, rope_theta: 1e6 },
    sliding_attention: { rope_type: 'default', rope_theta: 10_000 },
  }
  assert.deepEqual(read(old), read({ ...base.gemma3, rope_parameters: parts }))
  near(mixerOf(read(old), 5).rope?.frequencies[0] ?? 0, 1 / 8, 'scaled')
  near(mixerOf(read(old), 0).rope?.frequencies[0] ?? 0, 1, 'sliding layers are not scaled')
  assert.deepEqual(
    read({ ...base.qwen2, rope_scaling: { ...yarn, rope_type: undefined, type: 'yarn' }, rope_theta: 1e6 }),
    read({ ...base.qwen2, rope_parameters: { ...yarn, rope_theta: 1e6 } }),
  )
})

test('families: yarn and longrope are those of transformers', () => {
  // made by a Python transcription of transformers' _compute_yarn_parameters (float64)
  const rope = mixerOf(read({ ...base.qwen2, rope_scaling: yarn, rope_theta: 1e6 }), 0).rope
  near(rope?.magnitude ?? 0, 1.138629436111989, 'magnitude')
  for (const [pair, want] of Object.entries(goldens.yarn)) near(rope?.frequencies[Number(pair)] ?? 0, want, pair)
  const oss = mixerOf(read(publishedConfigs['gpt-oss-20b']), 0).rope
  for (const [pair, want] of Object.entries(goldens.gptOss)) near(oss?.frequencies[Number(pair)] ?? 0, want, pair)
  const factors = (start: number): number[] => Array.from({ length: 36 }, (_, i) => start + i / 36)
  const long = mixerOf(
    read({
      ...base.phi3,
      partial_rotary_factor: 0.75,
      max_position_embeddings: 131_072,
      rope_scaling: { type: 'su', short_factor: factors(1), long_factor: factors(2) },
    }),
    0,
  ).rope
  assert.equal(long?.span, 72)
  near(long.magnitude, Math.sqrt(1 + Math.log(32) / Math.log(4096)), 'magnitude')
  near(long.frequencies[1], 10_000 ** (-2 / 72) / (1 + 1 / 36), 'short')
  assert.equal(long.long?.beyond, 4096)
  near(long.long?.frequencies[1] ?? 0, 10_000 ** (-2 / 72) / (2 + 1 / 36), 'long')
})

test('families: text inside a multimodal checkpoint is read, what is about images is passed over', () => {
  const { architectures, torch_dtype, ...text } = base.gemma3
  const config = {
    architectures: ['Gemma3ForConditionalGeneration'],
    model_type: 'gemma3',
    text_config: text,
    torch_dtype,
    vision_config: { model_type: 'siglip_vision_model' },
    mm_tokens_per_image: 256,
    image_token_index: 262_144,
  }
  assert.deepEqual(read(config), read({ ...base.gemma3, architectures }))
  assert.throws(() => read({ ...config, adapter_scale: 2 }), {
    code: 'modelConfigInvalid',
    message: /adapter_scale is 2/,
  })
  assert.throws(() => read({ ...config, text_config: { ...text, model_type: 'other' } }), {
    code: 'architectureUnsupported',
    message: /Gemma3ForConditionalGeneration of "other"/,
  })
})

test('families: a key that changes the text and is not understood is refused in every family', () => {
  for (const [name, change, message] of [
    ['qwen2', { rope_scaling: { rope_type: 'dynamic', factor: 2 } }, /rope_scaling is .*dynamic/],
    ['qwen2', { quantization_config: { quant_method: 'awq' } }, /quantization_config/],
    ['qwen2', { layer_types: Array(4).fill('sliding_attention') }, /use_sliding_window is false/],
    ['gemma3', { layer_types: ['full_attention'] }, /layer_types .* list of 12/],
    ['gemma3', { attn_logit_softcapping: 50 }, /attn_logit_softcapping is 50/],
    ['gemma3', { hidden_activation: 'gelu' }, /hidden_activation is "gelu"/],
    ['gemma3', { query_pre_attn_scalar: -1 }, /query_pre_attn_scalar is -1/],
    ['phi3', { rope_scaling: { type: 'su', short_factor: [1], long_factor: [1] } }, /short_factor/],
    ['phi3', { embd_pdrop: 0, num_experts: 16 }, /num_experts is 16/],
    ['smollm3', { no_rope_layers: [1, 0] }, /no_rope_layers .* list of 8/],
    ['mistral', { attention_bias: true }, /attention_bias is true/],
    ['mistral', { num_hidden_layers: 1e9 }, /num_hidden_layers is 1000000000/],
    ['mistral', { rms_norm_eps: Number.NaN }, /rms_norm_eps is null|rms_norm_eps/],
    ['mistral', { model_type: 'llama' }, /model_type is "llama"/],
  ] as const)
    assert.throws(
      () => read({ ...base[name], ...change }),
      { code: 'modelConfigInvalid', message },
      `${name} ${JSON.stringify(change)}`,
    )
})

const goldens = {
  yarn: {
    0: 1.0,
    20: 0.01333521432163324,
    30: 0.0010643609812470017,
    40: 4.445698525097307e-5,
    63: 3.102344401879299e-7,
  },
  gptOss: {
    0: 1.0,
    8: 0.050813274815461475,
    12: 0.006794959489732219,
    17: 0.00012931870124506317,
    31: 3.0235114281192144e-7,
  },
}
