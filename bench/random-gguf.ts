/**
 * A GGUF file (version 3) of a Llama shape with random Q4_0 weights, different in every layer: what llama.cpp is timed
 * on.
 */
import { randomFillSync } from 'node:crypto'
import { closeSync, openSync, writeSync } from 'node:fs'
import type { ModelShape } from '../shared/schema/model.ts'

const alignment = 32
const valueTypes = { u32: 4, i32: 5, f32: 6, string: 8, array: 9 } as const
const tensorTypes = { f32: 0, q4_0: 2 } as const
/** f16 of about 1 / (4.6 * sqrt(2048)): keeps activations finite. */
const scaleBits = 0x1cf0

const text = (value: string): Buffer => {
  const bytes = Buffer.from(value)
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(bytes.length))
  return Buffer.concat([length, bytes])
}
const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}
const u64 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}
const f32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeFloatLE(value)
  return bytes
}

const pair = (name: string, type: number, value: Buffer): Buffer => Buffer.concat([text(name), u32(type), value])
const list = (name: string, type: number, values: readonly Buffer[]): Buffer =>
  pair(name, valueTypes.array, Buffer.concat([u32(type), u64(values.length), ...values]))

/** A vocabulary that a loader accepts: control tokens, bytes, and made-up words. */
const tokens = (vocab: number): string[] =>
  [
    '<unk>',
    '<s>',
    '</s>',
    ...Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`),
    ...Array.from({ length: vocab }, (_, id) => `word${id}`),
  ].slice(0, vocab)

const metadata = (shape: ModelShape): Buffer[] => {
  const words = tokens(shape.vocab)
  const number = (name: string, value: number): Buffer => pair(name, valueTypes.u32, u32(value))
  return [
    pair('general.architecture', valueTypes.string, text('llama')),
    number('general.file_type', 2),
    number('llama.context_length', shape.context),
    number('llama.embedding_length', shape.hidden),
    number('llama.block_count', shape.layers),
    number('llama.feed_forward_length', shape.ffn),
    number('llama.attention.head_count', shape.heads),
    number('llama.attention.head_count_kv', shape.kvHeads),
    number('llama.rope.dimension_count', shape.headDim),
    number('llama.vocab_size', shape.vocab),
    pair('llama.attention.layer_norm_rms_epsilon', valueTypes.f32, f32(1e-5)),
    pair('tokenizer.ggml.model', valueTypes.string, text('llama')),
    list('tokenizer.ggml.tokens', valueTypes.string, words.map(text)),
    list(
      'tokenizer.ggml.scores',
      valueTypes.f32,
      words.map((_, id) => f32(-id)),
    ),
    list(
      'tokenizer.ggml.token_type',
      valueTypes.i32,
      words.map((_, id) => u32(id === 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1)),
    ),
    number('tokenizer.ggml.bos_token_id', 1),
    number('tokenizer.ggml.eos_token_id', 2),
  ]
}

interface Tensor {
  readonly name: string
  /** Columns first, as GGUF has it. */
  readonly dims: readonly number[]
}

const tensorsOf = ({ layers, hidden, heads, kvHeads, headDim, ffn, vocab }: ModelShape): Tensor[] => [
  { name: 'token_embd.weight', dims: [hidden, vocab] },
  ...Array.from({ length: layers }, (_, layer): Tensor[] => {
    const at = `blk.${layer}`
    return [
      { name: `${at}.attn_norm.weight`, dims: [hidden] },
      { name: `${at}.attn_q.weight`, dims: [hidden, heads * headDim] },
      { name: `${at}.attn_k.weight`, dims: [hidden, kvHeads * headDim] },
      { name: `${at}.attn_v.weight`, dims: [hidden, kvHeads * headDim] },
      { name: `${at}.attn_output.weight`, dims: [heads * headDim, hidden] },
      { name: `${at}.ffn_norm.weight`, dims: [hidden] },
      { name: `${at}.ffn_gate.weight`, dims: [hidden, ffn] },
      { name: `${at}.ffn_up.weight`, dims: [hidden, ffn] },
      { name: `${at}.ffn_down.weight`, dims: [ffn, hidden] },
    ]
  }).flat(),
  { name: 'output_norm.weight', dims: [hidden] },
  { name: 'output.weight', dims: [hidden, vocab] },
]

const bytesOf = ({ dims }: Tensor): number => (dims.length === 1 ? dims[0] * 4 : (dims[0] * dims[1] * 18) / 32)
const padded = (bytes: number): number => Math.ceil(bytes / alignment) * alignment

export const writeRandomGguf = (file: string, shape: ModelShape): void => {
  const tensors = tensorsOf(shape)
  let offset = 0
  const infos = tensors.map((tensor) => {
    const info = Buffer.concat([
      text(tensor.name),
      u32(tensor.dims.length),
      ...tensor.dims.map(u64),
      u32(tensor.dims.length === 1 ? tensorTypes.f32 : tensorTypes.q4_0),
      u64(offset),
    ])
    offset += padded(bytesOf(tensor))
    return info
  })
  const pairs = metadata(shape)
  const header = Buffer.concat([
    Buffer.from('GGUF'),
    u32(3),
    u64(tensors.length),
    u64(pairs.length),
    ...pairs,
    ...infos,
  ])
  const handle = openSync(file, 'w')
  writeSync(handle, Buffer.concat([header, Buffer.alloc(padded(header.length) - header.length)]))
  for (const tensor of tensors) {
    const bytes = Buffer.alloc(padded(bytesOf(tensor)))
    if (tensor.dims.length === 1) new Float32Array(bytes.buffer, bytes.byteOffset, tensor.dims[0]).fill(1)
    else {
      randomFillSync(bytes)
      for (let block = 0; block < bytes.length; block += 18)
        bytes.writeUInt16LE(scaleBits, Math.min(block, bytes.length - 2))
    }
    writeSync(handle, bytes)
  }
  closeSync(handle)
}
