/** Writes GGUF files, whole or in parts, as llama.cpp reads them: version 3, little-endian. */
import { closeSync, openSync, writeSync } from 'node:fs'
import type { WeightType } from '../architecture/tensor-roles.ts'
import { bytesOfValues, weightFormats } from '../blocks/formats.ts'
import { type GgufElementType, valueTypes } from './metadata.ts'
import { fiveDigits } from './name.ts'

/** A value with its type in the file. */
export type TypedValue =
  | { readonly type: GgufElementType; readonly value: number | bigint | boolean | string }
  | { readonly type: GgufElementType; readonly values: readonly (number | bigint | boolean | string)[] }

export interface WrittenTensor {
  readonly name: string
  /** [..., out, in], as Hugging Face has them; reversed in the file. */
  readonly dims: readonly number[]
  readonly type: WeightType
  /** All bytes, asked for when they are written: at once, or in pieces of which each may overwrite the one before. */
  bytes(): Uint8Array | Iterable<Uint8Array>
}

export interface WrittenGguf {
  /** In the order of the file. `general.alignment` and `split.*` are set by the writer. */
  readonly metadata: Readonly<Record<string, TypedValue>>
  readonly tensors: readonly WrittenTensor[]
  /** Files; more than one are named `-00001-of-0000N.gguf`. Default: 1 */
  readonly parts?: number
}

const alignment = 32

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

const text = (value: string): Buffer => {
  const bytes = Buffer.from(value)
  return Buffer.concat([u64(bytes.length), bytes])
}

const widths = { u8: 1, i8: 1, bool: 1, u16: 2, i16: 2, u32: 4, i32: 4, f32: 4, u64: 8, i64: 8, f64: 8 } as const

const encodeScalar = (type: GgufElementType, value: number | bigint | boolean | string): Buffer => {
  if (type === 'string') return text(String(value))
  const bytes = Buffer.alloc(widths[type])
  if (type === 'u64') bytes.writeBigUInt64LE(BigInt(value))
  else if (type === 'i64') bytes.writeBigInt64LE(BigInt(value))
  else if (type === 'f32') bytes.writeFloatLE(Number(value))
  else if (type === 'f64') bytes.writeDoubleLE(Number(value))
  else if (type.startsWith('i')) bytes.writeIntLE(Number(value), 0, widths[type])
  else bytes.writeUIntLE(Number(value), 0, widths[type])
  return bytes
}

const encodeValue = (value: TypedValue): Buffer => {
  const type = u32(valueTypes.indexOf(value.type))
  if ('value' in value) return Buffer.concat([type, encodeScalar(value.type, value.value)])
  return Buffer.concat([
    u32(valueTypes.indexOf('array')),
    type,
    u64(value.values.length),
    ...value.values.map((element) => encodeScalar(value.type, element)),
  ])
}

const aligned = (bytes: number): number => Math.ceil(bytes / alignment) * alignment

/** Bytes of a tensor in a file, with those up to the next one. */
export const writtenBytes = (tensor: WrittenTensor): number => aligned(sizeOf(tensor))

const sizeOf = ({ name, dims, type }: WrittenTensor): number => {
  if (dims[dims.length - 1] % weightFormats[type].values !== 0)
    throw new RangeError(`rows of ${name} have ${dims[dims.length - 1]} columns, no whole blocks of ${type}`)
  return bytesOfValues(
    type,
    dims.reduce((product, dim) => product * dim, 1),
  )
}

const encodeHeader = (metadata: Readonly<Record<string, TypedValue>>, tensors: readonly WrittenTensor[]): Buffer => {
  const entries: Buffer[] = []
  let offset = 0
  for (const tensor of tensors) {
    const dims = tensor.dims.toReversed().map(u64)
    entries.push(
      Buffer.concat([text(tensor.name), u32(dims.length), ...dims, u32(weightFormats[tensor.type].id), u64(offset)]),
    )
    offset += aligned(sizeOf(tensor))
  }
  const keys = Object.entries(metadata).map(([key, value]) => Buffer.concat([text(key), encodeValue(value)]))
  const header = Buffer.concat([
    Buffer.from('GGUF'),
    u32(3),
    u64(tensors.length),
    u64(keys.length),
    ...keys,
    ...entries,
  ])
  return Buffer.concat([header, Buffer.alloc(aligned(header.length) - header.length)])
}

const writeFile = (path: string, header: Buffer, tensors: readonly WrittenTensor[]): void => {
  const handle = openSync(path, 'w')
  const write = (bytes: Uint8Array): void => {
    for (let at = 0; at < bytes.length;) at += writeSync(handle, bytes, at, bytes.length - at)
  }
  try {
    write(header)
    for (const tensor of tensors) {
      const bytes = tensor.bytes()
      const size = sizeOf(tensor)
      let length = 0
      for (const piece of bytes instanceof Uint8Array ? [bytes] : bytes) {
        length += piece.length
        write(piece)
      }
      if (length !== size) throw new RangeError(`${tensor.name} has ${length} bytes, its shape needs ${size}`)
      write(Buffer.alloc(aligned(size) - size))
    }
  } finally {
    closeSync(handle)
  }
}

/**
 * @param path ends in .gguf
 * @returns paths of the files: this one, or its parts
 */
export const writeGguf = (path: string, { metadata, tensors, parts = 1 }: WrittenGguf): string[] => {
  if (parts === 1) {
    writeFile(path, encodeHeader(metadata, tensors), tensors)
    return [path]
  }
  return Array.from({ length: parts }, (_, index) => {
    const own = tensors.slice(
      Math.floor((index * tensors.length) / parts),
      Math.floor(((index + 1) * tensors.length) / parts),
    )
    const split: Record<string, TypedValue> = {
      'split.no': { type: 'u16', value: index },
      'split.count': { type: 'u16', value: parts },
      'split.tensors.count': { type: 'i32', value: tensors.length },
    }
    const part = path.replace(/\.gguf$/, `-${fiveDigits(index + 1)}-of-${fiveDigits(parts)}.gguf`)
    writeFile(part, encodeHeader(index === 0 ? { ...metadata, ...split } : split, own), own)
    return part
  })
}
