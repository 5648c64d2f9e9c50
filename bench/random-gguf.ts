/**
 * A GGUF file of a Llama shape with random Q4_0 weights, different in every layer: what llama.cpp is timed on.
 */
import { randomFillSync } from 'node:crypto'
import { byteVocabulary } from '../agent/model/gguf/byte-vocabulary.ts'
import { type TypedValue, writeGguf, type WrittenTensor } from '../agent/model/gguf/write-gguf.ts'
import type { ModelShape } from '../shared/schema/model.ts'

/** f16 of about 1 / (4.6 * sqrt(2048)): keeps activations finite. */
const scaleBits = 0x1cf0
const blockBytes = 18
const blockColumns = 32

const metadata = (shape: ModelShape): Readonly<Record<string, TypedValue>> => {
  const number = (value: number): TypedValue => ({ type: 'u32', value })
  return {
    'general.architecture': { type: 'string', value: 'llama' },
    'general.file_type': number(2),
    'llama.context_length': number(shape.context),
    'llama.embedding_length': number(shape.hidden),
    'llama.block_count': number(shape.layers),
    'llama.feed_forward_length': number(shape.ffn),
    'llama.attention.head_count': number(shape.heads),
    'llama.attention.head_count_kv': number(shape.kvHeads),
    'llama.rope.dimension_count': number(shape.headDim),
    'llama.vocab_size': number(shape.vocab),
    'llama.attention.layer_norm_rms_epsilon': { type: 'f32', value: 1e-5 },
    ...byteVocabulary(shape.vocab),
  }
}

const norm = (name: string, size: number): WrittenTensor => ({
  name,
  dims: [size],
  type: 'F32',
  bytes: () => new Uint8Array(new Float32Array(size).fill(1).buffer),
})

const matrix = (name: string, rows: number, columns: number): WrittenTensor => ({
  name,
  dims: [rows, columns],
  type: 'Q4_0',
  bytes: () => {
    const bytes = randomFillSync(Buffer.alloc((rows * columns * blockBytes) / blockColumns))
    for (let block = 0; block < bytes.length; block += blockBytes) bytes.writeUInt16LE(scaleBits, block)
    return bytes
  },
})

const tensorsOf = ({ layers, hidden, heads, kvHeads, headDim, ffn, vocab }: ModelShape): WrittenTensor[] => [
  matrix('token_embd.weight', vocab, hidden),
  ...Array.from({ length: layers }, (_, layer): WrittenTensor[] => {
    const at = `blk.${layer}`
    return [
      norm(`${at}.attn_norm.weight`, hidden),
      matrix(`${at}.attn_q.weight`, heads * headDim, hidden),
      matrix(`${at}.attn_k.weight`, kvHeads * headDim, hidden),
      matrix(`${at}.attn_v.weight`, kvHeads * headDim, hidden),
      matrix(`${at}.attn_output.weight`, hidden, heads * headDim),
      norm(`${at}.ffn_norm.weight`, hidden),
      matrix(`${at}.ffn_gate.weight`, ffn, hidden),
      matrix(`${at}.ffn_up.weight`, ffn, hidden),
      matrix(`${at}.ffn_down.weight`, hidden, ffn),
    ]
  }).flat(),
  norm('output_norm.weight', hidden),
  matrix('output.weight', vocab, hidden),
]

export const writeRandomGguf = (file: string, shape: ModelShape): void =>
  void writeGguf(file, { metadata: metadata(shape), tensors: tensorsOf(shape) })
