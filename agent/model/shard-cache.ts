/**
 * The weights of one rank on disk: cut from the model folder, quantised once, found again by content hash. What lies
 * where in the file: `shard-layout.ts`.
 */

import { createHash } from 'node:crypto'
import {
  closeSync,
  createReadStream,
  existsSync,
  fsync,
  ftruncateSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
} from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { MeshError, problemOf, systemCodeOf } from '../../shared/errors.ts'
import { readStateJson, writeStateJson } from '../../shared/home.ts'
import type { HeldMatrices, Quant } from '../../shared/schema/model.ts'
import type { Loading, RankRanges } from '../../shared/schema/ring.ts'
import { formatBytes } from '../../shared/words.ts'
import { heldMatrices } from './held-matrices.ts'
import type { Model, ModelIdentity } from './model-folder.ts'
import { type BlockColumns, blockColumns } from './quantize.ts'
import { rangesText } from './shard-ranges.ts'
import { layoutShard, type ShardTensor } from './shard-layout.ts'
import { type StoredTypes, storedTypes } from './shard-types.ts'
import { type Claim, claimShard, releaseShard, ShardAbout, type ShardUse, temporaryFolderFor } from './shard-store.ts'
import { writePiecesInThreads } from './shard-threads.ts'
import { piecesOf, type ShardContent, ShardWriter } from './shard-writer.ts'

export { layoutShard, type ShardTensor }

/** Raised when the content of shard files changes for the same model and ranges. */
const formatVersion = 2
/** Bytes of a shard from which threads pay: each takes a quarter of a second to start. */
const threadedBytes = 2 * 2 ** 20
const syncFile = promisify(fsync)
const indexName = 'index.json'
const weightsName = 'weights.bin'

/** A rank's weights on disk, ready to be memory-mapped. Plain data: backends send it to threads. */
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
  /** Types of its matrices and of those of the file, where it keeps the bits of the file. */
  readonly held?: readonly HeldMatrices[]
  /** That this process uses it, until `releaseShard`; absent where nobody was named. */
  readonly claim: Claim | undefined
}

export interface ShardRequest {
  readonly model: Model
  readonly ranges: RankRanges
  readonly quant: Quant
  /** Columns of a block of quantisation; 32 when not given. */
  readonly block?: BlockColumns
  /** Holds one folder per shard. */
  readonly cacheFolder: string
  /** Cores that cut and quantise. Default: all. */
  readonly threads?: number
  /** The ring it is for: it is kept from being removed until `releaseShard`. */
  readonly use?: ShardUse
  /** Called before so many bytes are written: removes what may go. */
  makeRoom?(bytes: number): void
  /** Gives up. */
  readonly signal?: AbortSignal
  onProgress?(progress: ShardProgress): void
}

export type ShardProgress = Loading & { readonly phase: 'cutting' | 'quantising' | 'hashing' }

const Index = Type.Object({
  about: Type.Optional(ShardAbout),
  bytes: Type.Integer({ minimum: 0 }),
  sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }),
  tensors: Type.Array(
    Type.Tuple([
      Type.String(),
      Type.Object({
        dtype: Type.Unsafe<ShardTensor['dtype']>(Type.String({ pattern: '^[A-Za-z0-9_]{2,10}$' })),
        dims: Type.Array(Type.Integer({ minimum: 0 })),
        offset: Type.Integer({ minimum: 0 }),
        length: Type.Integer({ minimum: 0 }),
      }),
    ]),
  ),
})
type Index = Type.Static<typeof Index>

const hashOf = ({ ranges, quant, block = blockColumns }: ShardRequest, { revision }: ModelIdentity): string =>
  createHash('sha256')
    .update(
      JSON.stringify([
        formatVersion,
        revision,
        quant,
        ...(block === blockColumns ? [] : [block]),
        ...(['kvHeads', 'heads', 'ffn', 'vocab'] as const).map((name) => [ranges[name].start, ranges[name].end]),
        ...(ranges.parts ? [rangesText(ranges)] : []),
      ]),
    )
    .digest('hex')

/** Types of the matrices, where they keep the bits of their file. */
const typesFor = ({ model, ranges, quant }: ShardRequest): StoredTypes | undefined =>
  quant === 'file' ? storedTypes(model.config.spec, ranges, model.roles()) : undefined

const heldIn = ({ model, ranges, quant }: ShardRequest): HeldMatrices[] | undefined =>
  quant === 'file' ? heldMatrices(model.config.spec, ranges, model.roles()) : undefined

const sha256Of = async (file: string, totalBytes: number, { onProgress, signal }: ShardRequest): Promise<string> => {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of createReadStream(file, { highWaterMark: 4 * 2 ** 20, signal }) as AsyncIterable<Buffer>) {
    hash.update(chunk)
    bytes += chunk.length
    onProgress?.({ phase: 'hashing', bytes, totalBytes })
  }
  return hash.digest('hex')
}

const diskFull = (file: string, bytes: number, cause?: unknown): MeshError =>
  new MeshError('diskFull', { file, need: formatBytes(bytes) }, cause)

/** Fails before hours of work where the disk cannot hold the result. */
const checkSpace = (folder: string, bytes: number): void => {
  const { bavail, bsize } = statfsSync(folder)
  if (bavail * bsize < bytes) throw diskFull(folder, bytes)
}

/** Bytes that wait for the disk at most, so that the end does not wait for gigabytes, and what is told as done is. */
const flushBytes = 64 * 2 ** 20

/** Brings what is written to the disk, piece by piece and not on this thread. */
const createFlush = (handle: number): { upTo(bytes: number): void; end(): Promise<void>; idle(): Promise<void> } => {
  let flushed = 0
  let running: Promise<void> | undefined
  let failure: unknown
  const idle = async (): Promise<void> => {
    await running
  }
  return {
    upTo: (bytes) => {
      if (running || bytes - flushed < flushBytes) return
      flushed = bytes
      running = syncFile(handle)
        .catch((error: unknown) => {
          failure ??= error // the system tells it once
        })
        .finally(() => {
          running = undefined
        })
    },
    end: async () => {
      await idle()
      if (failure) throw failure
      await syncFile(handle)
    },
    idle,
  }
}

/** Writes all tensors into an empty file. */
const writeWeights = async (
  request: ShardRequest,
  { digests }: ModelIdentity,
  { file, totalBytes }: { readonly file: string; readonly totalBytes: number },
): Promise<void> => {
  const { model, ranges, quant, block = blockColumns, threads = availableParallelism(), signal, onProgress } = request
  const content: ShardContent = {
    spec: model.config.spec,
    ranges,
    quant,
    block,
    types: typesFor(request),
  }
  let bytes = 0
  const wrote = (count: number): void => {
    bytes += count
    onProgress?.({ phase: quant === 'f32' || quant === 'file' ? 'cutting' : 'quantising', bytes, totalBytes })
    flush.upTo(bytes)
  }
  const handle = openSync(file, 'w')
  const flush = createFlush(handle)
  try {
    ftruncateSync(handle, totalBytes)
    const writer = new ShardWriter(content, handle)
    const roles = model.roles(digests)
    wrote(writer.plain(roles))
    const pieces = piecesOf(content)
    if (totalBytes >= threadedBytes)
      await writePiecesInThreads(
        { content, modelFolder: model.folder, digests, shardFile: file },
        { threads: Math.min(threads, pieces.length), signal, onBytes: wrote },
      )
    else for (const piece of pieces) wrote(writer.piece(roles, piece))
    await flush.end()
  } finally {
    await flush.idle()
    closeSync(handle)
  }
}

interface Found {
  readonly index: Index
  readonly claim: Claim | undefined
}

/** @returns what was built, or nothing when another process built the same shard meanwhile */
const build = async (request: ShardRequest, identity: ModelIdentity, folder: string): Promise<Found | undefined> => {
  const layout = layoutShard({ ...request, spec: request.model.config.spec, types: typesFor(request) })
  const temporary = temporaryFolderFor(folder)
  request.makeRoom?.(layout.bytes)
  mkdirSync(temporary, { recursive: true })
  try {
    checkSpace(temporary, layout.bytes)
    const file = join(temporary, weightsName)
    await writeWeights(request, identity, { file, totalBytes: layout.bytes })
    const about: ShardAbout = {
      modelId: request.model.about.modelId,
      revision: identity.revision,
      quant: request.quant,
      ranges: request.ranges,
      weights: heldIn(request),
    }
    const claim = request.use && claimShard(temporary, request.use)
    const index: Index = {
      about,
      bytes: layout.bytes,
      sha256: await sha256Of(file, layout.bytes, request),
      tensors: layout.tensors.map(([name, tensor]) => [name, { ...tensor, dims: [...tensor.dims] }]),
    }
    writeStateJson(join(temporary, indexName), index)
    rmSync(folder, { recursive: true, force: true })
    renameSync(temporary, folder)
    return { index, claim }
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true })
    const code = systemCodeOf(error)
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return undefined
    if (code === 'ENOSPC') throw diskFull(folder, layout.bytes, error)
    throw error
  }
}

/** @returns the index when the shard is whole. @throws MeshError `shardCorrupt` | `stateUnreadable` */
const verify = async (folder: string, request: ShardRequest): Promise<Index> => {
  const file = join(folder, weightsName)
  const corrupt = (problem: string): MeshError => new MeshError('shardCorrupt', { file, problem })
  const index = readStateJson(join(folder, indexName))
  if (!Value.Check(Index, index)) throw corrupt('its index is malformed')
  const size = statSync(file, { throwIfNoEntry: false })?.size
  if (size !== index.bytes) throw corrupt(`it has ${size ?? 0} bytes, want ${index.bytes}`)
  if ((await sha256Of(file, index.bytes, request)) !== index.sha256) throw corrupt('its hash is wrong')
  return index
}

/** Takes the shard that is there: first says that it is used, so that it stays. @throws as `verify`, then nothing is claimed */
const take = async (folder: string, request: ShardRequest): Promise<Found> => {
  const claim = request.use && claimShard(folder, request.use)
  try {
    return { index: await verify(folder, request), claim }
  } catch (error) {
    releaseShard({ folder, claim })
    throw error
  }
}

/**
 * The shard of these ranges: from the cache when it is whole, else cut from the model folder. Memory stays flat.
 * @throws MeshError `diskFull` | `safetensorsInvalid` | `weightsChanged` | `weightsUnusable` | `stateUnwritable`
 */
export const loadShard = async (request: ShardRequest): Promise<ShardFile> => {
  const identity = await request.model.identify({ signal: request.signal })
  const hash = hashOf(request, identity)
  const folder = join(request.cacheFolder, hash)
  let found: Found | undefined
  if (existsSync(folder)) found = await take(folder, request).catch(() => undefined)
  request.signal?.throwIfAborted()
  if (found === undefined) {
    try {
      found = await build(request, identity, folder)
    } catch (error) {
      request.signal?.throwIfAborted()
      if (error instanceof MeshError) throw error
      throw new MeshError('stateUnwritable', { file: folder, problem: problemOf(error) }, error)
    }
    found ??= await take(folder, request)
  }
  const { index, claim } = found
  return {
    folder,
    weights: join(folder, weightsName),
    tensors: new Map(index.tensors),
    bytes: index.bytes,
    hash,
    held: heldIn(request),
    claim,
  }
}
