/**
 * Reads the weights of a model whole, once, and hashes what is read: in threads where there is much, in slices where
 * there is little. What is known of files that did not change since is not read again (`hash-store.ts`).
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { MeshError } from '../../shared/errors.ts'
import { readHashes, writeHashes } from './hash-store.ts'
import { digestBytes, hashPieces, type PlacedTensor, pieceBytes, piecesIn } from './pieces.ts'
import type { TensorFile, TensorInfo } from './safetensors.ts'
import { runInThreads, type ThreadedWork } from './thread-pool.ts'

/** Bytes from which threads pay: each takes a quarter of a second to start. */
const threadedBytes = 64 * 2 ** 20
/** Pieces that a thread takes at once. */
const piecesAtOnce = 16

/** A tensor, with what a thread needs to find it again. */
export interface HashedTensor extends PlacedTensor {
  readonly path: string
  readonly stamp: string
  /** Bytes in front of the hashes of its pieces. */
  readonly at: number
}

export interface HashInput {
  readonly tensors: readonly HashedTensor[]
  /** u8: hashes of all pieces of all tensors. */
  readonly memory: SharedArrayBuffer
}

interface HashPart {
  readonly tensor: HashedTensor
  readonly first: number
  readonly count: number
}

/** The same list for the same tensors, so that threads can speak of parts by their index. */
export const partsOf = (tensors: readonly HashedTensor[]): HashPart[] =>
  tensors.flatMap((tensor) => {
    const pieces = piecesIn(tensor)
    return Array.from({ length: Math.ceil(pieces / piecesAtOnce) }, (_, index) => ({
      tensor,
      first: index * piecesAtOnce,
      count: Math.min(piecesAtOnce, pieces - index * piecesAtOnce),
    }))
  })

const bytesIn = (tensors: readonly PlacedTensor[]): number =>
  tensors.reduce((sum, { start, end }) => sum + end - start, 0)

const digestsOf = (tensor: HashedTensor, all: Uint8Array): Uint8Array =>
  all.subarray(tensor.at, tensor.at + piecesIn(tensor) * digestBytes)

/** @returns bytes read */
export const hashPart = (file: TensorFile, { tensor, first, count }: HashPart, all: Uint8Array): number => {
  hashPieces(file, tensor, { first, count }, digestsOf(tensor, all))
  return Math.min(tensor.end - tensor.start, (first + count) * pieceBytes) - first * pieceBytes
}

const placed = (tensors: readonly TensorInfo[], fileOf: (path: string) => TensorFile): HashedTensor[] => {
  let at = 0
  return tensors.map(({ name, dtype, dims, start, end, file: { path } }) => {
    const tensor = { name, dtype, dims, start, end, path, stamp: fileOf(path).stamp, at }
    at += piecesIn(tensor) * digestBytes
    return tensor
  })
}

/** In the order of the disk. */
const inFileOrder = (tensors: Iterable<TensorInfo>): TensorInfo[] =>
  [...tensors].toSorted((a, b) =>
    a.file.path === b.file.path ? a.start - b.start : a.file.path < b.file.path ? -1 : 1,
  )

/**
 * Hashes of the pieces of these tensors, all of them read now.
 * @throws MeshError `safetensorsInvalid` (ends early, or changes meanwhile) | `weightsUnusable` | the reason of the
 * signal
 */
export const readTensors = async (
  wanted: Iterable<TensorInfo>,
  files: readonly TensorFile[],
  { threads, signal, onBytes }: ThreadedWork,
): Promise<Map<string, Uint8Array>> => {
  const byPath = new Map(files.map((file) => [file.path, file]))
  const fileOf = (path: string): TensorFile => byPath.get(path) as TensorFile
  const tensors = placed(inFileOrder(wanted), fileOf)
  const memory = new SharedArrayBuffer(tensors.reduce((sum, tensor) => sum + piecesIn(tensor) * digestBytes, 0))
  const all = new Uint8Array(memory)
  const bytes = bytesIn(tensors)
  const parts = partsOf(tensors)
  if (bytes >= threadedBytes) {
    const input: HashInput = { tensors, memory }
    await runInThreads(new URL('./hash-thread.ts', import.meta.url), input, {
      threads: Math.min(threads, parts.length),
      signal,
      onBytes,
    })
  } else {
    for (const part of parts) {
      const done = hashPart(fileOf(part.tensor.path), part, all)
      onBytes?.(done)
      await nextTurn()
      signal?.throwIfAborted()
    }
  }
  return new Map(tensors.map((tensor) => [tensor.name, digestsOf(tensor, all)]))
}

export interface HashingOptions extends Omit<ThreadedWork, 'onBytes'> {
  /** Where hashes of files that do not change are kept; absent: nowhere. */
  readonly cacheFolder?: string
  onProgress?(bytes: number, totalBytes: number): void
}

export interface TensorHashes {
  readonly digests: ReadonlyMap<string, Uint8Array>
  /** Names of those that were read now. */
  readonly read: ReadonlySet<string>
}

/**
 * Hashes of the pieces of these tensors: as they are remembered for files that did not change, else by reading.
 * @throws as `readTensors`; what cannot be remembered is read again the next time
 */
export const hashTensors = async (
  wanted: Iterable<TensorInfo>,
  files: readonly TensorFile[],
  options: HashingOptions,
): Promise<TensorHashes> => {
  const { cacheFolder, threads, signal, onProgress } = options
  const startedAt = Date.now()
  const all = [...wanted]
  const known = cacheFolder === undefined ? new Map<string, Uint8Array>() : readHashes(cacheFolder, all, files)
  const missing = all.filter(({ name }) => !known.has(name))
  const totalBytes = bytesIn(missing)
  let bytes = 0
  const onBytes = (count: number): void => {
    bytes += count
    onProgress?.(bytes, totalBytes)
  }
  const read =
    missing.length === 0
      ? new Map<string, Uint8Array>()
      : await readTensors(missing, files, { threads, signal, onBytes })
  const readFiles = files.filter(({ path }) => missing.some(({ file }) => file.path === path))
  const changed = readFiles.find((file) => !file.isInPlace())
  if (changed)
    throw new MeshError('safetensorsInvalid', { file: changed.path, problem: 'it was changed while it was read' })
  const digests = new Map([...known, ...read])
  if (cacheFolder !== undefined) writeHashes(cacheFolder, { tensors: all, digests, files: readFiles, startedAt })
  return { digests, read: new Set(read.keys()) }
}

interface Tensors {
  /** @throws MeshError `tensorMissing` */
  tensor(name: string): TensorInfo
}

/**
 * Reads a tensor whole and compares it with its hashes: one of which parts are read later, without a look at them.
 * @throws MeshError `weightsChanged` | as `readTensors`
 */
export const checkTensor = async (
  { tensor, files }: Tensors & { readonly files: readonly TensorFile[] },
  name: string,
  {
    digests,
    threads,
    signal,
    onProgress,
  }: Omit<HashingOptions, 'cacheFolder'> & { readonly digests: ReadonlyMap<string, Uint8Array> },
): Promise<void> => {
  const info = tensor(name)
  const want = digests.get(name) as Uint8Array
  let bytes = 0
  const onBytes = (count: number): void => {
    bytes += count
    onProgress?.(bytes, info.end - info.start)
  }
  const got = (await readTensors([info], files, { threads, signal, onBytes })).get(name) as Uint8Array
  const differs = got.findIndex((byte, at) => byte !== want[at])
  if (differs >= 0)
    throw new MeshError('weightsChanged', {
      tensor: name,
      file: info.file.path,
      piece: Math.floor(differs / digestBytes),
    })
}
