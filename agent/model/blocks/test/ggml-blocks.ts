/** ggml's own conversion of blocks, by FFI: what ours is compared with, and what quantises the weights of tests. */
import { readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { findGgml } from '../../../engine/ggml/library.ts'
import type { WeightType } from '../../architecture/tensor-roles.ts'
import { bytesOfValues, weightFormats } from '../formats.ts'

type Native = (...args: readonly unknown[]) => unknown
interface Koffi {
  load(file: string): { func(name: string, result: string, args: readonly string[]): Native }
  struct(name: string, fields: Readonly<Record<string, string>>): unknown
  proto(result: string, args: readonly string[]): unknown
  decode(pointer: unknown, type: unknown): unknown
}

const koffi = createRequire(import.meta.url)('koffi') as Koffi
const { folder } = findGgml()
const file = readdirSync(folder).find((name) => /^(lib)?ggml-base\.(so|dylib|dll)$/.test(name)) as string
const base = koffi.load(join(folder, file))
const traits = koffi.struct('mesh_test_type_traits', {
  type_name: 'str',
  blck_size: 'int64_t',
  blck_size_interleave: 'int64_t',
  type_size: 'size_t',
  is_quantized: 'bool',
  to_float: 'void*',
  from_float_ref: 'void*',
})
const getTraits = base.func('ggml_get_type_traits', 'void*', ['int'])
const toFloat = koffi.proto('void', ['void*', 'void*', 'int64_t'])
const quantizeChunk = base.func('ggml_quantize_chunk', 'size_t', [
  'int',
  'void*',
  'void*',
  'int64_t',
  'int64_t',
  'int64_t',
  'void*',
])

interface Traits {
  readonly name: string | null
  readonly values: number
  readonly bytes: number
  readonly toFloat: unknown
}

/** What ggml says of a type. */
export const ggmlTraits = (id: number): Traits => {
  const found = koffi.decode(getTraits(id), traits) as Record<string, unknown>
  return {
    name: found.type_name as string | null,
    values: Number(found.blck_size),
    bytes: Number(found.type_size),
    toFloat: found.to_float,
  }
}

/** ggml's f32 of whole blocks. */
export const ggmlDecode = (type: WeightType, bytes: Uint8Array): Float32Array => {
  const { values, bytes: size, id } = weightFormats[type]
  const into = new Float32Array((bytes.length / size) * values)
  const call = koffi.decode(ggmlTraits(id).toFloat, toFloat) as Native
  call(bytes, into, into.length)
  return into
}

/** ggml's blocks of f32 [rows, columns]; `weights`: importance of each column. */
export const ggmlQuantize = (
  type: WeightType,
  values: Float32Array,
  columns: number,
  weights?: Float32Array,
): Uint8Array => {
  if (type === 'F32') return new Uint8Array(values.slice().buffer)
  const into = new Uint8Array(bytesOfValues(type, values.length))
  const rows = values.length / columns
  const written = Number(quantizeChunk(weightFormats[type].id, values, into, 0, rows, columns, weights ?? null))
  if (written !== into.length) throw new Error(`ggml wrote ${written} bytes of ${type}, ${into.length} were expected`)
  return into
}
