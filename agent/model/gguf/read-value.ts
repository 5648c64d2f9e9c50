/** Values of the metadata of a GGUF file, each checked before memory is reserved for it. */
import type { HeaderCursor } from './cursor.ts'
import { type GgufElementType, GgufList, type GgufScalar, type GgufValue, valueTypes } from './metadata.ts'

/** Caps; each is far above what real files need. */
export const valueCaps = {
  keyBytes: 2 ** 16,
  /** A chat template has about 30 kB. */
  textBytes: 16 * 2 ** 20,
  /** Elements of a list; the largest vocabularies have some 300,000 tokens and as many merges. */
  elements: 2 ** 24,
  /** Of all values of a file together. */
  bytes: 128 * 2 ** 20,
} as const

interface NumberType {
  readonly bytes: number
  read(view: DataView, at: number): number | bigint
}

const small = (value: bigint): number | bigint =>
  value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value

const numberTypes: Readonly<Record<Exclude<GgufElementType, 'bool' | 'string'>, NumberType>> = {
  u8: { bytes: 1, read: (view, at) => view.getUint8(at) },
  i8: { bytes: 1, read: (view, at) => view.getInt8(at) },
  u16: { bytes: 2, read: (view, at) => view.getUint16(at, true) },
  i16: { bytes: 2, read: (view, at) => view.getInt16(at, true) },
  u32: { bytes: 4, read: (view, at) => view.getUint32(at, true) },
  i32: { bytes: 4, read: (view, at) => view.getInt32(at, true) },
  f32: { bytes: 4, read: (view, at) => view.getFloat32(at, true) },
  u64: { bytes: 8, read: (view, at) => small(view.getBigUint64(at, true)) },
  i64: { bytes: 8, read: (view, at) => small(view.getBigInt64(at, true)) },
  f64: { bytes: 8, read: (view, at) => view.getFloat64(at, true) },
}

const viewOf = ({ buffer, byteOffset, byteLength }: Uint8Array): DataView =>
  new DataView(buffer, byteOffset, byteLength)

const typeAt = (cursor: HeaderCursor, key: string): (typeof valueTypes)[number] => {
  const number = cursor.u32(`the type of ${key}`)
  if (number >= valueTypes.length)
    throw cursor.invalid(`the value of ${key} has the type ${number}, which is not known`)
  return valueTypes[number]
}

const booleanOf = (cursor: HeaderCursor, key: string, byte: number): boolean => {
  if (byte > 1) throw cursor.invalid(`${key} holds ${byte} in place of a boolean`)
  return byte === 1
}

/** Texts one behind the other, and where each ends: some 10 bytes a token in place of 60. */
const readTexts = (cursor: HeaderCursor, key: string, count: number): GgufList => {
  cursor.expect(8 * count, key) // the length of each
  const ends = new Uint32Array(count)
  let bytes = Buffer.alloc(Math.min(valueCaps.textBytes, 16 * count))
  let end = 0
  for (let index = 0; index < count; index++) {
    const text = cursor.bytes(cursor.count(`the length of a text of ${key}`, valueCaps.textBytes), key)
    if (end + text.length > valueCaps.bytes) throw cursor.invalid(`the texts of ${key} are longer than any vocabulary`)
    if (end + text.length > bytes.length) {
      const grown = Buffer.alloc(2 * (end + text.length))
      bytes.copy(grown, 0, 0, end)
      bytes = grown
    }
    bytes.set(text, end)
    end += text.length
    ends[index] = end
  }
  return new GgufList('string', count, (index) =>
    bytes.toString('utf8', index === 0 ? 0 : ends[index - 1], ends[index]),
  )
}

const readList = (cursor: HeaderCursor, key: string): GgufList => {
  const type = typeAt(cursor, key)
  const count = cursor.count(`the number of elements of ${key}`, valueCaps.elements)
  if (type === 'array') throw cursor.invalid(`${key} is a list of lists, which no model has`)
  if (type === 'string') return readTexts(cursor, key, count)
  if (type === 'bool') {
    const bytes = cursor.bytes(count, key)
    for (const byte of bytes) booleanOf(cursor, key, byte)
    return new GgufList(type, count, (index) => bytes[index] === 1)
  }
  const { bytes: width, read } = numberTypes[type]
  const view = viewOf(cursor.bytes(count * width, key))
  return new GgufList(type, count, (index) => read(view, index * width))
}

const readScalar = (cursor: HeaderCursor, key: string, type: GgufElementType): GgufScalar => {
  if (type === 'string') return cursor.text(key, valueCaps.textBytes)
  if (type === 'bool') return booleanOf(cursor, key, cursor.u8(key))
  const { bytes, read } = numberTypes[type]
  return read(viewOf(cursor.bytes(bytes, key)), 0)
}

/** Type and value. @throws MeshError `ggufInvalid` */
export const readValue = (cursor: HeaderCursor, key: string): GgufValue => {
  const type = typeAt(cursor, key)
  return type === 'array' ? readList(cursor, key) : readScalar(cursor, key, type)
}
