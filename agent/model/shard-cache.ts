/**
 * The weights of one rank on disk: cut from the model folder, quantised once, found again by content hash.
 *
 * Tensors in the file (K = input columns, N = output rows; a matrix is stored as rows of its output):
 *
 * | name | f32 | q8, q4 |
 * | --- | --- | --- |
 * | `layers.<l>.attention.norm`, `layers.<l>.mlp.norm`, `head.norm` | f32 [hidden] | the same |
 * | `layers.<l>.attention.qkv`: own q rows, then k, then v; K = hidden | `.w` f32 [N, K] | `.q` u8, `.s` f32 |
 * | `layers.<l>.attention.o`: N = hidden, K = own heads * headDim | `.w` | `.q`, `.s` |
 * | `layers.<l>.mlp.gateUp`: own gate rows, then own up rows; K = hidden | `.w` | `.q`, `.s` |
 * | `layers.<l>.mlp.down`: N = hidden, K = own MLP columns | `.w` | `.q`, `.s` |
 * | `head`: own vocabulary rows; K = hidden | `.w` | `.q`, `.s` |
 *
 * `.q` is u8 [N, ceil(K / 32), 32 * bits / 8] and `.s` f32 [N, ceil(K / 32)], symmetric blocks of 32 along K as
 * ONNX Runtime's MatMulNBits wants them: value = (code - 8) * scale for 4 bits (even column in the low nibble),
 * (code - 128) * scale for 8 bits. The last block is padded with the zero code. Matrices of a rank that holds no
 * heads, no MLP columns or no vocabulary are absent.
 */

import { createHash, randomBytes } from 'node:crypto'
import { closeSync, createReadStream, existsSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, statfsSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { MeshError, problemOf } from '../../shared/errors.ts'
import { readStateJson, writeStateJson } from '../../shared/home.ts'
import type { Quant } from '../../shared/schema/model.ts'
import type { RankRanges } from '../../shared/schema/ring.ts'
import { formatBytes } from '../../shared/units.ts'
import type { ModelConfig } from './config.ts'
import type { Model } from './model-folder.ts'
import { bitsOf, blockColumns, quantize } from './quantize.ts'
import { type MatrixPart, matrixParts, normParts, readPart } from './shard-parts.ts'
import { readRows } from './tensor-slice.ts'

/** Raised when the content of shard files changes for the same model and ranges. */
const formatVersion = 1
/** Pages of every platform we run on divide this. */
const alignment = 4096
/** Elements of a matrix that are held in memory while it is cut and quantised. */
const pieceElements = 4 * 2 ** 20
const indexName = 'index.json'
const weightsName = 'weights.bin'

/** One tensor inside a shard file. */
export interface ShardTensor {
  readonly dtype: 'f32' | 'u8'
  readonly dims: readonly number[]
  /** Bytes from the start of the weights file; a multiple of 4096, so that it can be memory-mapped. */
  readonly offset: number
  readonly length: number
}

/** A rank's weights on disk, ready to be memory-mapped. */
export interface ShardFile {
  /** Folder that holds the weights file; a backend may put its own small files beside it. */
  readonly folder: string
  /** Absolute path. */
  readonly weights: string
  readonly tensors: ReadonlyMap<string, ShardTensor>
  /** Of all tensors together. */
  readonly bytes: number
  /** Content hash: names the folder. */
  readonly hash: string
}

export interface ShardRequest {
  readonly model: Model
  readonly ranges: RankRanges
  readonly quant: Quant
  /** Holds one folder per shard. */
  readonly cacheFolder: string
  /** Called with 0..1. */
  onProgress?(fraction: number): void
}

const Index = Type.Object({
  bytes: Type.Integer({ minimum: 0 }),
  sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }),
  tensors: Type.Array(Type.Tuple([Type.String(), Type.Object({
    dtype: Type.Union([Type.Literal('f32'), Type.Literal('u8')]),
    dims: Type.Array(Type.Integer({ minimum: 0 })),
    offset: Type.Integer({ minimum: 0 }),
    length: Type.Integer({ minimum: 0 }),
  })])),
})
type Index = Type.Static<typeof Index>

const hashOf = ({ model, ranges, quant }: ShardRequest): string =>
  createHash('sha256')
    .update(JSON.stringify([formatVersion, model.manifest.revision, quant, ...(['kvHeads', 'heads', 'ffn', 'vocab'] as const).map((name) => [ranges[name].start, ranges[name].end])]))
    .digest('hex')

/** Tensor table of a shard: names, sizes and places follow from shape, ranges and quantisation alone. */
export const layoutShard = ({ shape, tiedEmbeddings }: Pick<ModelConfig, 'shape' | 'tiedEmbeddings'>, ranges: RankRanges, quant: Quant): { readonly tensors: [string, ShardTensor][]; readonly bytes: number } => {
  const tensors: [string, ShardTensor][] = []
  let end = 0
  const add = (name: string, dtype: 'f32' | 'u8', dims: number[]): void => {
    const offset = Math.ceil(end / alignment) * alignment
    const length = dims.reduce((product, dim) => product * dim, dtype === 'f32' ? 4 : 1)
    tensors.push([name, { dtype, dims, offset, length }])
    end = offset + length
  }
  for (const { name } of normParts(shape)) add(name, 'f32', [shape.hidden])
  for (const { name, rows, columns } of matrixParts({ shape, tiedEmbeddings }, ranges)) {
    if (quant === 'f32') add(`${name}.w`, 'f32', [rows, columns])
    else {
      const blocks = Math.ceil(columns / blockColumns)
      add(`${name}.q`, 'u8', [rows, blocks, (blockColumns * bitsOf(quant)) / 8])
      add(`${name}.s`, 'f32', [rows, blocks])
    }
  }
  return { tensors, bytes: end }
}

const bytesOf = (data: Float32Array): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

/** Cuts, quantises and writes one matrix, piece by piece. */
const writeMatrix = (request: ShardRequest, part: MatrixPart, tensors: ReadonlyMap<string, ShardTensor>, write: (bytes: Uint8Array, offset: number) => void): void => {
  const { quant, model } = request
  const place = (suffix: string): number => (tensors.get(part.name + suffix) as ShardTensor).offset
  const rowsAtOnce = Math.max(1, Math.floor(pieceElements / part.columns))
  for (let row = 0; row < part.rows; row += rowsAtOnce) {
    const count = Math.min(rowsAtOnce, part.rows - row)
    const values = readPart(model, part, row, row + count)
    if (quant === 'f32') {
      write(bytesOf(values), place('.w') + row * part.columns * 4)
      continue
    }
    const { codes, scales } = quantize(values, count, part.columns, bitsOf(quant))
    const blocks = Math.ceil(part.columns / blockColumns)
    write(codes, place('.q') + row * blocks * ((blockColumns * bitsOf(quant)) / 8))
    write(bytesOf(scales), place('.s') + row * blocks * 4)
  }
}

const sha256Of = async (file: string): Promise<string> => {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file, { highWaterMark: 4 * 2 ** 20 }), hash)
  return hash.digest('hex')
}

const diskFull = (file: string, bytes: number, cause?: unknown): MeshError => new MeshError('diskFull', { file, need: formatBytes(bytes) }, cause)

/** Fails before hours of work where the disk cannot hold the result. */
const checkSpace = (folder: string, bytes: number): void => {
  const { bavail, bsize } = statfsSync(folder)
  if (bavail * bsize < bytes) throw diskFull(folder, bytes)
}

const build = async (request: ShardRequest, folder: string): Promise<void> => {
  const layout = layoutShard(request.model.config, request.ranges, request.quant)
  const tensors = new Map(layout.tensors)
  const temporary = `${folder}.${randomBytes(4).toString('hex')}.tmp`
  mkdirSync(temporary, { recursive: true })
  try {
    checkSpace(temporary, layout.bytes)
    const file = join(temporary, weightsName)
    const handle = openSync(file, 'w')
    try {
      const write = (bytes: Uint8Array, offset: number): void => {
        for (let at = 0; at < bytes.length; ) at += writeSync(handle, bytes, at, bytes.length - at, offset + at)
      }
      const { model } = request
      for (const { name, source } of normParts(model.config.shape)) write(bytesOf(readRows(model.tensor(source), 0, model.config.shape.hidden)), (tensors.get(name) as ShardTensor).offset)
      const parts = matrixParts(model.config, request.ranges)
      for (const [index, part] of parts.entries()) {
        writeMatrix(request, part, tensors, write)
        request.onProgress?.((index + 1) / parts.length)
        await new Promise((resolve) => setImmediate(resolve)) // heartbeats go on while a large model is cut
      }
      fsyncSync(handle)
    } finally {
      closeSync(handle)
    }
    const index: Index = { bytes: layout.bytes, sha256: await sha256Of(file), tensors: layout.tensors.map(([name, tensor]) => [name, { ...tensor, dims: [...tensor.dims] }]) }
    writeStateJson(join(temporary, indexName), index)
    rmSync(folder, { recursive: true, force: true })
    renameSync(temporary, folder)
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true })
    // another process built the same shard meanwhile: its content is the same
    if (error instanceof Error && 'code' in error && (error.code === 'ENOTEMPTY' || error.code === 'EEXIST')) return
    if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') throw diskFull(folder, layout.bytes, error)
    throw error
  }
}

/** @returns the index when the shard is there and whole. @throws MeshError `shardCorrupt` | `stateUnreadable` */
const verify = async (folder: string): Promise<Index> => {
  const file = join(folder, weightsName)
  const corrupt = (problem: string): MeshError => new MeshError('shardCorrupt', { file, problem })
  const index = readStateJson(join(folder, indexName))
  if (!Value.Check(Index, index)) throw corrupt('its index is malformed')
  const size = statSync(file, { throwIfNoEntry: false })?.size
  if (size !== index.bytes) throw corrupt(`it has ${size ?? 0} bytes, want ${index.bytes}`)
  if ((await sha256Of(file)) !== index.sha256) throw corrupt('its hash is wrong')
  return index
}

/**
 * The shard of these ranges: from the cache when it is whole, else cut from the model folder. Memory stays flat.
 * @throws MeshError `diskFull` | `safetensorsInvalid` | `stateUnwritable`
 */
export const loadShard = async (request: ShardRequest): Promise<ShardFile> => {
  const hash = hashOf(request)
  const folder = join(request.cacheFolder, hash)
  const weights = join(folder, weightsName)
  let index: Index | undefined
  if (existsSync(folder)) index = await verify(folder).catch(() => undefined)
  if (index === undefined) {
    try {
      await build(request, folder)
    } catch (error) {
      if (error instanceof MeshError) throw error
      throw new MeshError('stateUnwritable', { file: folder, problem: problemOf(error) }, error)
    }
    index = await verify(folder)
  }
  request.onProgress?.(1)
  return { folder, weights, tensors: new Map(index.tensors), bytes: index.bytes, hash }
}
