/**
 * Shards with random weights of a given model, without its files: different in every layer (equal layers would be
 * shared inside a session and stay in cache).
 */
import { randomFillSync } from 'node:crypto'
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { ModelSpec } from '../agent/model/architecture/model-spec.ts'
import { rolesOf } from '../agent/model/architecture/roles.ts'
import { layoutShard, type ShardFile, type ShardTensor } from '../agent/model/shard-cache.ts'
import type { ShardContent } from '../agent/model/shard-writer.ts'
import { type StoredTypes, storedTypes } from '../agent/model/shard-types.ts'
import type { RankRanges } from '../shared/schema/ring.ts'
import { randomPlain, randomWeights } from './random-blocks.ts'
import type { TypeOf } from './weight-types.ts'

/** Types of the matrices of a rank that keeps those of a file. */
export const shardTypes = (spec: ModelSpec, ranges: RankRanges, typeOf: TypeOf): StoredTypes => {
  const types = new Map(rolesOf(spec).map((role) => [role.role, typeOf(role)]))
  const typeNamed = (name: string) => {
    const type = types.get(name === 'head' && spec.tied ? 'embedding' : name)
    if (type === undefined) throw new Error(`no type for ${name}`)
    return { type }
  }
  return storedTypes(spec, ranges, { role: typeNamed })
}

const contentOf = (
  name: string,
  { dtype, dims, length }: ShardTensor,
  { quant, block = 32 }: ShardContent,
): Iterable<Uint8Array> => {
  if (name.endsWith('.q')) return randomBytes(length)
  // uniform codes have a spread of 4.6 (4 bits) or 74 (8 bits) steps
  const columns = dims.length > 1 ? dims[1] : 1
  if (name.endsWith('.s')) return scales(length, 1 / ((quant === 'q4' ? 4.6 : 74) * Math.sqrt(columns * block)))
  if (name.endsWith('.w')) return randomWeights(dtype === 'f32' || dtype === 'u8' ? 'F32' : dtype, length, columns)
  return randomPlain(name, length, columns)
}

const pieceBytes = 4 * 2 ** 20

function* randomBytes(length: number): Generator<Uint8Array> {
  const piece = new Uint8Array(Math.min(length, pieceBytes))
  for (let at = 0; at < length; at += piece.length)
    yield randomFillSync(piece.subarray(0, Math.min(piece.length, length - at)))
}

function* scales(length: number, scale: number): Generator<Uint8Array> {
  const piece = new Uint8Array(new Float32Array(Math.min(length, pieceBytes) / 4).fill(scale).buffer)
  for (let at = 0; at < length; at += piece.length) yield piece.subarray(0, Math.min(piece.length, length - at))
}

export const writeRandomShard = (folder: string, content: ShardContent): ShardFile => {
  mkdirSync(folder, { recursive: true })
  const { tensors, bytes } = layoutShard(content)
  const weights = join(folder, 'weights.bin')
  const file = openSync(weights, 'w')
  try {
    for (const [name, tensor] of tensors) {
      let at = tensor.offset
      for (const piece of contentOf(name, tensor, content))
        for (let from = 0; from < piece.length;) {
          const wrote = writeSync(file, piece, from, piece.length - from, at)
          from += wrote
          at += wrote
        }
    }
  } finally {
    closeSync(file)
  }
  return { folder, weights, tensors: new Map(tensors), bytes, hash: 'random', claim: undefined }
}

/** Embedding rows as a function of the token. */
export const randomEmbedding =
  (hidden: number) =>
  (tokens: readonly number[], into: Float32Array): void => {
    for (const [row, token] of tokens.entries())
      for (let i = 0; i < hidden; i++) into[row * hidden + i] = Math.sin(token * 12.9898 + i * 78.233)
  }
