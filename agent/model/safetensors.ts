/**
 * Reads safetensors files (header of JSON, then raw little-endian tensors) by byte range; never trusts a length.
 * A model is one `model.safetensors`, or several files named by `model.safetensors.index.json`.
 */
import { existsSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { MeshError, problemOf } from '../../shared/errors.ts'
import { formatBytes } from '../../shared/words.ts'
import { contentBytes, foreignContent, missingFile } from './folder-diagnosis.ts'
import { indexFile, readModelFile } from './model-file.ts'
import { damagedFile, TensorFile, type TensorInfo, type TensorStore } from './tensor-file.ts'

export { type ByteSource, TensorFile, type TensorInfo, type TensorStore } from './tensor-file.ts'

/** Caps; each is far above what real models need. */
const caps = {
  /** Header bytes: 100 MB is what the format's own reference implementation allows. */
  headerBytes: 100_000_000,
  /** Tensors: a model of 1024 layers has about ten thousand. */
  tensors: 200_000,
  nameLength: 500,
  dims: 8,
  indexBytes: 64 * 2 ** 20,
  files: 10_000,
} as const

export const elementBytes = { F32: 4, F16: 2, BF16: 2 } as const
export type TensorDtype = keyof typeof elementBytes

/** Bytes of an element of every type that the format names; of others nothing is known but where they lie. */
const widths: Readonly<Record<string, number>> = {
  ...elementBytes,
  F64: 8,
  I64: 8,
  U64: 8,
  I32: 4,
  U32: 4,
  I16: 2,
  U16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
}

const HeaderEntry = Type.Object({
  dtype: Type.String({ maxLength: 20 }),
  shape: Type.Array(Type.Integer({ minimum: 0, maximum: 2 ** 40 }), { maxItems: caps.dims }),
  data_offsets: Type.Tuple([Type.Integer({ minimum: 0 }), Type.Integer({ minimum: 0 })]),
})
const IndexFile = Type.Object({ weight_map: Type.Record(Type.String(), Type.String({ maxLength: 255 })) })

const damaged = damagedFile

const readHeader = (file: TensorFile): { readonly entries: Record<string, unknown>; readonly dataStart: number } => {
  const start = Buffer.alloc(Math.min(contentBytes, file.size))
  file.read(start, 0)
  const foreign = foreignContent(file.path, start)
  if (foreign) throw foreign
  if (file.size < 8) throw damaged(file.path, `${formatBytes(file.size)} are too few for a header`)
  const length = start.readBigUInt64LE(0)
  if (length > BigInt(caps.headerBytes))
    throw damaged(
      file.path,
      `its header claims ${formatBytes(Number(length))}, ${formatBytes(caps.headerBytes)} is the most`,
    )
  if (8 + Number(length) > file.size)
    throw damaged(file.path, `its header claims ${formatBytes(Number(length))}, the file has ${formatBytes(file.size)}`)
  const bytes = Buffer.alloc(Number(length))
  file.read(bytes, 8)
  let entries: unknown
  try {
    entries = JSON.parse(bytes.toString('utf8'))
  } catch (error) {
    throw damaged(file.path, `its header is not JSON (${problemOf(error)})`, error)
  }
  if (typeof entries !== 'object' || entries === null || Array.isArray(entries))
    throw damaged(file.path, 'its header is not an object')
  return { entries: entries as Record<string, unknown>, dataStart: 8 + Number(length) }
}

const readEntry = (file: TensorFile, name: string, entry: unknown, dataStart: number): TensorInfo => {
  if (name.length > caps.nameLength) throw damaged(file.path, `a tensor name has ${name.length} characters`)
  if (!Value.Check(HeaderEntry, entry)) throw damaged(file.path, `the entry of ${name} is malformed`)
  const [start, end] = entry.data_offsets
  if (end < start || dataStart + end > file.size)
    throw damaged(file.path, `${name} lies at ${start}..${end}, the data has ${file.size - dataStart} bytes`)
  const width = Object.hasOwn(widths, entry.dtype) ? widths[entry.dtype] : undefined
  const want = entry.shape.reduce((product, dim) => product * dim, width ?? 0)
  if (width !== undefined && want !== end - start)
    throw damaged(
      file.path,
      `${name} has ${end - start} bytes, its shape ${entry.shape.join('x')} of ${entry.dtype} needs ${want}`,
    )
  return { name, dtype: entry.dtype, dims: entry.shape, start: dataStart + start, end: dataStart + end, file }
}

/** Tensors of one file. @throws MeshError `safetensorsInvalid` */
export const readTensorTable = (file: TensorFile): TensorInfo[] => {
  const { entries, dataStart } = readHeader(file)
  const names = Object.keys(entries).filter((name) => name !== '__metadata__')
  if (names.length > caps.tensors)
    throw damaged(file.path, `it names ${names.length} tensors, ${caps.tensors} is the limit`)
  const tensors = names.map((name) => readEntry(file, name, entries[name], dataStart))
  let reached = 0
  for (const tensor of tensors.toSorted((a, b) => a.start - b.start || a.end - b.end)) {
    if (tensor.start < reached) throw damaged(file.path, `${tensor.name} overlaps another tensor`)
    reached = tensor.end
  }
  return tensors
}

const filesOf = (folder: string): string[] => {
  if (existsSync(join(folder, 'model.safetensors'))) return ['model.safetensors']
  if (!existsSync(join(folder, indexFile))) throw missingFile(folder, 'model.safetensors')
  const file = join(folder, indexFile)
  let index: unknown
  try {
    index = JSON.parse(readModelFile(folder, indexFile, caps.indexBytes).toString('utf8'))
  } catch (error) {
    if (error instanceof MeshError) throw error
    throw damaged(file, `it is not JSON (${problemOf(error)})`, error)
  }
  if (!Value.Check(IndexFile, index)) throw damaged(file, 'it has no weight_map')
  const names = [...new Set(Object.values(index.weight_map))]
  if (names.length > caps.files) throw damaged(file, `it names ${names.length} files`)
  for (const name of names)
    if (name !== basename(name) || !name.endsWith('.safetensors'))
      throw damaged(file, `it names ${JSON.stringify(name.slice(0, 100))}, which is no file of this folder`)
  return names
}

/** All tensors of a model folder. @throws MeshError `modelFileMissing` | `safetensorsInvalid` */
export const openTensors = (folder: string): TensorStore => {
  const files: TensorFile[] = []
  const close = (): void => {
    for (const file of files) file.close()
  }
  try {
    const tensors = new Map<string, TensorInfo>()
    for (const name of filesOf(folder)) {
      if (!existsSync(join(folder, name))) throw new MeshError('modelFileMissing', { file: name, folder })
      const file = new TensorFile(join(folder, name))
      files.push(file)
      for (const tensor of readTensorTable(file)) {
        if (tensors.has(tensor.name)) throw damaged(file.path, `${tensor.name} is in two files`)
        tensors.set(tensor.name, tensor)
      }
    }
    return { tensors, files, bytes: files.reduce((sum, { size }) => sum + size, 0), close }
  } catch (error) {
    close()
    throw error
  }
}
