/**
 * Shards with random weights of a given shape, without a model: codes are random bytes, different in every layer (equal
 * layers would be shared inside a session and stay in cache), scales keep activations finite.
 */
import { randomFillSync } from 'node:crypto'
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { ModelSpec } from '../agent/model/architecture/model-spec.ts'
import type { BlockColumns } from '../agent/model/quantize.ts'
import { layoutShard, type ShardFile } from '../agent/model/shard-cache.ts'
import type { ModelShape, Quant } from '../shared/schema/model.ts'
import type { RankRanges } from '../shared/schema/ring.ts'

export const shapes: Readonly<Record<string, ModelShape>> = {
  'tinyllama-1.1b': {
    layers: 22,
    hidden: 2048,
    heads: 32,
    kvHeads: 4,
    headDim: 64,
    ffn: 5632,
    vocab: 32000,
    context: 4096,
  },
  'llama-160m': {
    layers: 12,
    hidden: 768,
    heads: 12,
    kvHeads: 12,
    headDim: 64,
    ffn: 3072,
    vocab: 32000,
    context: 2048,
  },
  /** Next to no arithmetic: what is left is hand-overs and links. */
  tiny: { layers: 4, hidden: 256, heads: 8, kvHeads: 8, headDim: 32, ffn: 768, vocab: 2048, context: 4096 },
}

const pieceBytes = 8 * 2 ** 20

export const writeRandomShard = (
  folder: string,
  ranges: RankRanges,
  { spec, quant, block }: { readonly spec: ModelSpec; readonly quant: Quant; readonly block: BlockColumns },
): ShardFile => {
  mkdirSync(folder, { recursive: true })
  const { tensors, bytes } = layoutShard({ spec, ranges, quant, block })
  const weights = join(folder, 'weights.bin')
  const file = openSync(weights, 'w')
  const piece = new Uint8Array(pieceBytes)
  for (const [name, { dtype, dims, offset, length }] of tensors) {
    // uniform codes have a spread of 4.6 (4 bits) or 74 (8 bits) steps; scaled to 1 / sqrt(columns)
    const columns = dims.length === 2 ? dims[1] * block : 1
    const scale = name.endsWith('norm') ? 1 : 1 / ((quant === 'q4' ? 4.6 : 74) * Math.sqrt(columns))
    for (let at = 0; at < length; at += pieceBytes) {
      const part = piece.subarray(0, Math.min(pieceBytes, length - at))
      if (dtype === 'u8') randomFillSync(part)
      else new Float32Array(part.buffer, 0, part.length / 4).fill(scale)
      writeSync(file, part, 0, part.length, offset + at)
    }
  }
  closeSync(file)
  return { folder, weights, tensors: new Map(tensors), bytes, hash: 'random', claim: undefined }
}

/** Embedding rows as a function of the token. */
export const randomEmbedding =
  (hidden: number) =>
  (tokens: readonly number[], into: Float32Array): void => {
    for (const [row, token] of tokens.entries())
      for (let i = 0; i < hidden; i++) into[row * hidden + i] = Math.sin(token * 12.9898 + i * 78.233)
  }
