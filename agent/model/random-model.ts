/** Writes Hugging Face folders with random weights: for tests, and for benchmarks of shapes without a download. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ModelShape } from '../../shared/schema/model.ts'
import type { Json } from './json.ts'
import { randomSource } from './random-source.ts'
import type { Rope } from './rope.ts'
import type { TensorDtype } from './safetensors.ts'
import { elementBytes } from './safetensors.ts'

export interface RandomModel {
  readonly shape: ModelShape
  readonly tied: boolean
  readonly dtype: TensorDtype
  /** Files that the tensors are spread over; more than one makes an index. */
  readonly files?: number
  readonly seed: number
  readonly rope?: Rope
  /** Further keys of config.json, or others than it would have. */
  readonly config?: Readonly<Record<string, unknown>>
  readonly normEpsilon?: number
}

const encode = (values: Float32Array, dtype: TensorDtype): Uint8Array => {
  if (dtype === 'F32') return new Uint8Array(values.buffer)
  if (dtype === 'F16') return new Uint8Array(Float16Array.from(values).buffer)
  const words = new Uint32Array(values.buffer)
  return new Uint8Array(Uint16Array.from(words, (word) => word >>> 16).buffer)
}

const tensorsOf = ({ shape, tied }: RandomModel): { name: string; dims: number[] }[] => {
  const { hidden, ffn, vocab } = shape
  const queries = shape.heads * shape.headDim
  const keys = shape.kvHeads * shape.headDim
  const layers = Array.from({ length: shape.layers }, (_, layer) => {
    const at = `model.layers.${layer}`
    return [
      { name: `${at}.input_layernorm.weight`, dims: [hidden] },
      { name: `${at}.post_attention_layernorm.weight`, dims: [hidden] },
      { name: `${at}.self_attn.q_proj.weight`, dims: [queries, hidden] },
      { name: `${at}.self_attn.k_proj.weight`, dims: [keys, hidden] },
      { name: `${at}.self_attn.v_proj.weight`, dims: [keys, hidden] },
      { name: `${at}.self_attn.o_proj.weight`, dims: [hidden, queries] },
      { name: `${at}.mlp.gate_proj.weight`, dims: [ffn, hidden] },
      { name: `${at}.mlp.up_proj.weight`, dims: [ffn, hidden] },
      { name: `${at}.mlp.down_proj.weight`, dims: [hidden, ffn] },
    ]
  })
  return [
    { name: 'model.embed_tokens.weight', dims: [vocab, hidden] },
    ...layers.flat(),
    { name: 'model.norm.weight', dims: [hidden] },
    ...(tied ? [] : [{ name: 'lm_head.weight', dims: [vocab, hidden] }]),
  ]
}

/** Norms near one, matrices scaled so that activations keep their size. */
const valuesOf = (dims: readonly number[], random: () => number): Float32Array => {
  const count = dims.reduce((product, dim) => product * dim, 1)
  if (dims.length === 1) return Float32Array.from({ length: count }, () => 1 + 0.2 * random())
  const scale = Math.sqrt(3 / dims[1])
  const values = new Float32Array(count)
  for (let i = 0; i < count; i++) values[i] = scale * random()
  return values
}

const writeFile = (
  file: string,
  tensors: readonly { name: string; dims: number[] }[],
  model: RandomModel,
  random: () => number,
): void => {
  const header: Record<string, object> = { __metadata__: { format: 'pt' } }
  const parts: Uint8Array[] = []
  let end = 0
  for (const { name, dims } of tensors) {
    const length = dims.reduce((product, dim) => product * dim, elementBytes[model.dtype])
    header[name] = { dtype: model.dtype, shape: dims, data_offsets: [end, end + length] }
    parts.push(encode(valuesOf(dims, random), model.dtype))
    end += length
  }
  const text = Buffer.from(JSON.stringify(header))
  const prefix = Buffer.alloc(8)
  prefix.writeBigUInt64LE(BigInt(text.length))
  writeFileSync(file, Buffer.concat([prefix, text, ...parts]))
}

/** One token per byte, as byte-level BPE without merges names them. */
export const writeTokenizer = (folder: string, vocab: number): void => {
  const shown = (byte: number): string => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
    if (printable) return String.fromCharCode(byte)
    const rank = byte <= 32 ? byte : byte <= 160 ? byte - 127 + 33 : 67
    return String.fromCharCode(256 + rank)
  }
  const entries = Array.from({ length: vocab }, (_, id): [string, number] => [
    id < 256 ? shown(id) : `<extra_${id}>`,
    id,
  ])
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }
  const json = {
    version: '1.0',
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: Object.fromEntries(entries),
      merges: [],
    },
  }
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(json))
  writeFileSync(
    join(folder, 'tokenizer_config.json'),
    JSON.stringify({ tokenizer_class: 'PreTrainedTokenizerFast', clean_up_tokenization_spaces: false }),
  )
}

const ropeKeys = ({ theta, scaling }: Rope): object => ({
  rope_theta: theta,
  rope_scaling: scaling
    ? {
        rope_type: scaling.kind,
        factor: scaling.factor,
        low_freq_factor: scaling.lowFrequencyFactor,
        high_freq_factor: scaling.highFrequencyFactor,
        original_max_position_embeddings: scaling.originalContext,
      }
    : null,
})

/** config.json of a Llama of that shape. */
export const llamaConfig = (shape: ModelShape): Json => ({
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_act: 'silu',
  vocab_size: shape.vocab,
  hidden_size: shape.hidden,
  intermediate_size: shape.ffn,
  num_hidden_layers: shape.layers,
  num_attention_heads: shape.heads,
  num_key_value_heads: shape.kvHeads,
  head_dim: shape.headDim,
  max_position_embeddings: shape.context,
  rms_norm_eps: 1e-5,
  rope_theta: 10_000,
  tie_word_embeddings: false,
})

/** Writes the whole folder; the same values for the same seed. */
export const writeRandomModel = (folder: string, model: RandomModel): void => {
  mkdirSync(folder, { recursive: true })
  const { shape, tied, files = 1 } = model
  writeFileSync(
    join(folder, 'config.json'),
    JSON.stringify({
      ...llamaConfig(shape),
      rms_norm_eps: model.normEpsilon ?? 1e-5,
      tie_word_embeddings: tied,
      ...ropeKeys(model.rope ?? { theta: 10_000 }),
      ...model.config,
    }),
  )
  writeTokenizer(folder, shape.vocab)
  const tensors = tensorsOf(model)
  const random = randomSource(model.seed)
  if (files === 1) return writeFile(join(folder, 'model.safetensors'), tensors, model, random)
  const nameOf = (index: number): string =>
    `model-${String(index + 1).padStart(5, '0')}-of-${String(files).padStart(5, '0')}.safetensors`
  const weightMap: Record<string, string> = {}
  for (let index = 0; index < files; index++) {
    const own = tensors.filter((_, at) => at % files === index)
    for (const { name } of own) weightMap[name] = nameOf(index)
    writeFile(join(folder, nameOf(index)), own, model, random)
  }
  writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map: weightMap }))
}
