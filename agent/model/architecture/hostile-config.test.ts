/** A config.json that means harm: refused by name, in bounded time and memory, and never with another error. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { MeshError } from '../../../shared/errors.ts'
import { GgufMetadata, type GgufValue } from '../gguf/metadata.ts'
import type { Json } from '../json.ts'
import { publishedConfigs } from './published.ts'
import { readGgufSpec } from './read-gguf-spec.ts'
import { readSpec } from './read-spec.ts'
import { tinyFamilies } from './test/tiny-models.ts'

const read = (config: unknown): void => {
  readSpec(config, { file: 'config.json' })
}

/** A value inside so many lists. */
const nested = (depth: number): unknown => JSON.parse(`${'['.repeat(depth)}${']'.repeat(depth)}`) as unknown

test('hostile config: values of any depth, sign and size are refused by their key', () => {
  const base = publishedConfigs['qwen3-30b-a3b']
  const deep = nested(200_000)
  for (const [change, message] of [
    [{ hidden_size: deep }, /hidden_size is/],
    [{ something: deep }, /something is/],
    [{ rope_scaling: deep }, /rope_scaling is/],
    [{ rope_scaling: { rope_type: deep } }, /rope_scaling is/],
    [{ rope_scaling: { rope_type: 'yarn', factor: deep } }, /factor is/],
    [{ layer_types: deep }, /layer_types is/],
    [{ layer_types: Array(1e5).fill('full_attention') }, /layer_types is/],
    [{ mlp_only_layers: Array(1e5).fill(1) }, /mlp_only_layers is/],
    [{ eos_token_id: 1, num_hidden_layers: 1e15 }, /num_hidden_layers is/],
    [{ num_hidden_layers: 1024, num_experts: 4096 }, /4194304 experts together/],
    [{ head_dim: 1e9 }, /head_dim is/],
    [{ rms_norm_eps: JSON.parse('1e999') as unknown }, /rms_norm_eps is/],
    [{ rms_norm_eps: -1 }, /rms_norm_eps is -1/],
    [{ rope_theta: JSON.parse('1e999') as unknown }, /rope_theta is/],
    [{ num_experts_per_tok: 129 }, /num_experts_per_tok is 129/],
    [{ num_attention_heads: 0 }, /num_attention_heads is 0/],
    [{ vocab_size: 1.5 }, /vocab_size is 1\.5/],
    [{ architectures: Array(1e5).fill('LlamaForCausalLM') }, /architectures is/],
    [{ ['__proto__']: 1, hasOwnProperty: 1 }, /__proto__ is 1/],
  ] as const)
    assert.throws(() => read({ ...base, ...change }), { code: 'modelConfigInvalid', message })
  assert.throws(() => read(deep), { code: 'modelConfigInvalid' })
  assert.throws(
    () => read({ architectures: ['x'.repeat(1e6)] }),
    (error: Error) => error.message.length < 2000,
  )
})

test('hostile config: the largest sizes that pass cost little', () => {
  const started = performance.now()
  read({
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    num_hidden_layers: 1024,
    num_attention_heads: 4096,
    head_dim: 4096,
    hidden_size: 1 << 20,
    vocab_size: 1 << 24,
  })
  assert.ok(performance.now() - started < 20_000)
})

const anything = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    true,
    false,
    0,
    1,
    2,
    -1,
    0.5,
    1e308,
    2 ** 53,
    '',
    'silu',
    [],
    {},
    [1],
    ['full_attention'],
  ),
  fc.jsonValue({ maxDepth: 3 }),
)

test('hostile config: any change of any key of any family gives a spec, or an error that names what is wrong', () => {
  const configs = tinyFamilies.map(({ config }) => config)
  const change = fc.record({
    config: fc.constantFrom(...configs),
    from: fc.constantFrom(...configs),
    changes: fc.array(fc.tuple(fc.nat(60), anything), { minLength: 1, maxLength: 3 }),
  })
  fc.assert(
    fc.property(change, ({ config, from, changes }) => {
      const keys = Object.keys({ ...config, ...from, sliding_window: 1, layer_types: 1, quantization_config: 1 })
      const changed: Json = {
        ...config,
        ...Object.fromEntries(changes.map(([key, value]) => [keys[key % keys.length], value])),
      }
      try {
        read(JSON.parse(JSON.stringify(changed)))
      } catch (error) {
        if (error instanceof MeshError && ['modelConfigInvalid', 'architectureUnsupported'].includes(error.code)) return
        throw error
      }
    }),
    { numRuns: 3000 },
  )
})

test('hostile GGUF: metadata of any value gives a spec, or an error that names what is wrong', () => {
  const keys = `context_length embedding_length block_count feed_forward_length attention.head_count expert_count
    attention.head_count_kv attention.key_length attention.layer_norm_rms_epsilon rope.freq_base rope.scaling.type
    rope.scaling.factor rope.dimension_count rope.scaling.original_context_length expert_used_count vocab_size
    attention.sliding_window ssm.inner_size ssm.time_step_rank nextn_predict_layers`.split(/\s+/)
  const architectures = ['llama', 'qwen2', 'qwen3moe', 'gemma3', 'phi3', 'gpt-oss', 'qwen35', 'deepseek2', 'other']
  const value = fc.oneof(
    fc.constantFrom<GgufValue>(
      1,
      2,
      4,
      8,
      64,
      0,
      -1,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      'yarn',
      'linear',
      true,
      2n ** 60n,
    ),
    fc.double(),
  )
  fc.assert(
    fc.property(
      fc.constantFrom(...architectures),
      fc.array(fc.tuple(fc.constantFrom(...keys), value), { maxLength: 24 }),
      (architecture, said) => {
        const metadata = new GgufMetadata(
          new Map<string, GgufValue>([
            ['general.architecture', architecture],
            ...said.map(([key, one]): [string, GgufValue] => [`${architecture}.${key}`, one]),
          ]),
          (problem) => new MeshError('ggufInvalid', { file: 'x.gguf', problem }),
        )
        try {
          readGgufSpec({ file: 'x.gguf', metadata, tensors: new Map() })
        } catch (error) {
          if (error instanceof MeshError) return
          throw error
        }
      },
    ),
    { numRuns: 3000 },
  )
})
