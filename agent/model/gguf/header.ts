/**
 * Header of one GGUF file, version 2 or 3, little-endian: metadata, then the table of tensors. Every count, length and
 * place is checked before it is used.
 */
import { MeshError } from '../../../shared/errors.ts'
import { formatBytes } from '../../../shared/words.ts'
import { contentBytes, foreignContent } from '../folder-diagnosis.ts'
import { damagedFile, type TensorFile, type TensorInfo } from '../tensor-file.ts'
import { HeaderCursor } from './cursor.ts'
import { GgufMetadata, type GgufValue } from './metadata.ts'
import { readValue, valueCaps } from './read-value.ts'
import { ggufTensorType } from './tensor-types.ts'

/** Caps; each is far above what real files need. */
const caps = { keys: 10_000, tensors: 200_000, nameBytes: 500, dims: 4, dim: 2 ** 40, alignment: 2 ** 20 } as const
const defaultAlignment = 32

export interface GgufHeader {
  readonly metadata: GgufMetadata
  readonly tensors: readonly TensorInfo[]
}

/** `ggml_type` etc. as the header has them. */
interface TensorEntry {
  readonly name: string
  readonly dtype: string
  readonly dims: readonly number[]
  /** Bytes from where data begins. */
  readonly offset: number
  readonly bytes: number
}

const olderFormats = ['lmgg', 'tjgg', 'fmgg', 'algg']

const checkStart = (file: TensorFile): void => {
  const start = Buffer.alloc(Math.min(contentBytes, file.size))
  file.read(start, 0)
  const magic = start.toString('latin1', 0, 4)
  if (magic === 'GGUF') return
  if (olderFormats.includes(magic))
    throw new MeshError('modelFormatUnsupported', { file: file.path, format: 'in a format of older llama.cpp' })
  throw (
    foreignContent(file.path, start) ??
    damagedFile(
      file.path,
      file.size === 0 ? 'it is empty' : `it begins with ${JSON.stringify(magic)} in place of "GGUF"`,
    )
  )
}

const checkVersion = (cursor: HeaderCursor): void => {
  const version = cursor.u32('the version')
  if (version === 2 || version === 3) return
  if (version !== 0 && (version & 0xffff) === 0)
    throw cursor.invalid('it is big-endian: use the file for little-endian machines, which is the usual one')
  if (version === 1) throw cursor.invalid('it has version 1 of the format: use a newer file of the model')
  throw cursor.invalid(`it has version ${version} of the format, 2 and 3 are read`)
}

const readMetadata = (cursor: HeaderCursor, count: number): GgufMetadata => {
  const values = new Map<string, GgufValue>()
  const begin = cursor.position
  for (let index = 0; index < count; index++) {
    const key = cursor.text(`key ${index}`, valueCaps.keyBytes)
    if (values.has(key)) throw cursor.invalid(`the key ${shownName(key)} is there twice`)
    values.set(key, readValue(cursor, shownName(key)))
    if (cursor.position - begin > valueCaps.bytes)
      throw cursor.invalid(`its metadata has more than ${formatBytes(valueCaps.bytes)}`)
  }
  return new GgufMetadata(values, (problem) => cursor.invalid(problem))
}

/** Of an untrusted name. */
const shownName = (name: string): string => JSON.stringify(name.slice(0, 100)).slice(1, -1)

const readTensorEntry = (cursor: HeaderCursor, index: number): TensorEntry => {
  const name = cursor.text(`the name of tensor ${index}`, caps.nameBytes)
  const shown = shownName(name)
  const count = cursor.u32(`the number of dimensions of ${shown}`)
  if (count === 0 || count > caps.dims)
    throw cursor.invalid(`${shown} has ${count} dimensions, 1 to ${caps.dims} may be`)
  const reversed = Array.from({ length: count }, () => cursor.count(`a dimension of ${shown}`, caps.dim))
  let type: ReturnType<typeof ggufTensorType>
  try {
    type = ggufTensorType(cursor.u32(`the type of ${shown}`))
  } catch (error) {
    throw cursor.invalid(`${shown}: ${(error as Error).message}`, error)
  }
  if (reversed[0] % type.values !== 0)
    throw cursor.invalid(
      `rows of ${shown} have ${reversed[0]} values, no multiple of the ${type.values} of ${type.name}`,
    )
  const values = reversed.reduce((product, dim) => product * dim, 1)
  const bytes = (values / type.values) * type.bytes
  if (!Number.isSafeInteger(values) || !Number.isSafeInteger(bytes))
    throw cursor.invalid(`${shown} has ${reversed.toReversed().join(' x ')} values, more than any file holds`)
  const offset = cursor.count(`the place of ${shown}`, Number.MAX_SAFE_INTEGER)
  return { name, dtype: type.name, dims: reversed.toReversed(), offset, bytes }
}

const alignmentOf = (cursor: HeaderCursor, metadata: GgufMetadata): number => {
  const alignment = metadata.count('general.alignment') ?? defaultAlignment
  const isPower = alignment > 0 && Math.log2(alignment) % 1 === 0
  if (!isPower || alignment > caps.alignment)
    throw cursor.invalid(`general.alignment is ${alignment}, no power of two up to ${caps.alignment}`)
  return alignment
}

/** Byte ranges in the file; no two of them overlap. */
const placeTensors = (
  file: TensorFile,
  entries: readonly TensorEntry[],
  { dataStart, alignment }: { readonly dataStart: number; readonly alignment: number },
): TensorInfo[] => {
  const placed = entries.map(({ name, dtype, dims, offset, bytes }): TensorInfo => {
    const start = dataStart + offset
    if (offset % alignment !== 0)
      throw damagedFile(file.path, `${shownName(name)} lies at ${offset}, no multiple of ${alignment}`)
    if (start + bytes > file.size)
      throw damagedFile(
        file.path,
        `${shownName(name)} ends at ${start + bytes}, the file has ${file.size} bytes: the download was cut short`,
      )
    return { name, dtype, dims, start, end: start + bytes, file }
  })
  let reached = 0
  for (const { name, start, end } of placed.toSorted((a, b) => a.start - b.start || a.end - b.end)) {
    if (start < reached) throw damagedFile(file.path, `${shownName(name)} overlaps another tensor`)
    reached = end
  }
  return placed
}

/** @throws MeshError `ggufInvalid` | `gitLfsPointer` | `modelFormatUnsupported` */
export const readGgufHeader = (file: TensorFile): GgufHeader => {
  checkStart(file)
  const cursor = new HeaderCursor(file)
  cursor.u32('the magic number')
  checkVersion(cursor)
  const tensorCount = cursor.count('the number of tensors', caps.tensors)
  const keyCount = cursor.count('the number of keys', caps.keys)
  // a key needs 13 bytes and a tensor 32 at least
  cursor.expect(13 * keyCount + 32 * tensorCount, 'the header')
  const metadata = readMetadata(cursor, keyCount)
  cursor.expect(32 * tensorCount, 'the table of tensors')
  const entries: TensorEntry[] = []
  const names = new Set<string>()
  for (let index = 0; index < tensorCount; index++) {
    const entry = readTensorEntry(cursor, index)
    if (names.has(entry.name)) throw cursor.invalid(`${shownName(entry.name)} is there twice`)
    names.add(entry.name)
    entries.push(entry)
  }
  const alignment = alignmentOf(cursor, metadata)
  const dataStart = Math.ceil(cursor.position / alignment) * alignment
  return { metadata, tensors: placeTensors(file, entries, { dataStart, alignment }) }
}
