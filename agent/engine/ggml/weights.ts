/** The shard's matrices as ggml tensors, in the fastest buffer that this CPU has for their type. */
import { closeSync, openSync, readSync } from 'node:fs'
import { MeshError } from '../../../shared/errors.ts'
import type { Quant } from '../../../shared/schema/model.ts'
import type { ShardFile, ShardTensor } from '../../model/shard-cache.ts'
import { ropeDivisors } from '../../model/rope.ts'
import type { BackendOptions } from '../backend.ts'
import { toQ4Blocks, toQ8Blocks } from './blocks.ts'
import { type GgmlDevice } from './device.ts'
import { type Ggml, type GgmlType, type Pointer, types } from './library.ts'

/** What rotation frequencies are divided by, f32 [headDim / 2]; only where the model scales them. */
export const ropeDivisorsName = 'rope.divisors'

export interface Weights {
  /** The tensor of that name in the shard's table, without suffix; `gate` and `up` for `gateUp`; or `ropeDivisorsName`. */
  get(name: string): Pointer
  has(name: string): boolean
  /** Kind of buffer the matrices lie in, for the log. */
  readonly buffer: string
}

const typeOf: Readonly<Record<Quant, GgmlType>> = { f32: types.f32, q8: types.q8_0, q4: types.q4_0 }
const suffixOf: Readonly<Record<Quant, string>> = { f32: '.w', q8: '.q', q4: '.q' }

interface Matrix {
  readonly name: string
  readonly columns: number
  readonly rows: number
}

/** A matrix of the shard, and the tensors that hold its rows, one behind another. */
interface Stored {
  readonly name: string
  readonly parts: readonly Matrix[]
}

/**
 * Gate and up are two tensors here: a kernel reads the whole matrix again for every few rows of activations, and the
 * two together fit no cache (up to 9 % slower, most while others use the memory too).
 */
const gateUp = '.gateUp'
const partNames = (name: string): string[] =>
  name.endsWith(gateUp) ? ['.gate', '.up'].map((part) => name.slice(0, -gateUp.length) + part) : [name]

/** Rows and columns of every matrix in the shard. @throws MeshError `backendFailed` for widths ggml cannot hold */
const matricesOf = (shard: ShardFile, quant: Quant): Stored[] => {
  const suffix = suffixOf[quant]
  return [...shard.tensors]
    .filter(([name]) => name.endsWith(suffix))
    .map(([file, { dims }]) => {
      const name = file.slice(0, -suffix.length)
      const names = partNames(name)
      return {
        name,
        parts: names.map((part) => ({
          name: part,
          rows: dims[0] / names.length,
          columns: quant === 'f32' ? dims[1] : dims[1] * 32,
        })),
      }
    })
}

/** A context that holds `tensors` descriptors and no data. */
export const createContext = (ggml: Ggml, tensors: number, nodes = 0): Pointer => {
  const graph = nodes > 0 ? Number(ggml.graph_overhead_custom(nodes, false)) : 0
  return ggml.init({
    mem_size: Number(ggml.tensor_overhead()) * tensors + graph + 1024,
    mem_buffer: null,
    no_alloc: true,
  })
}

/** Fewer rows than the matrix has, but of the same remainder: repacked layouts take whole groups of rows only. */
const probeRows = (rows: number): number => Math.min(rows, 256 + (rows % 256))

/** True when the device multiplies matrices of that shape from that kind of buffer. */
const supports = (
  ggml: Ggml,
  { device }: GgmlDevice,
  bufferType: Pointer,
  matrix: Matrix & { type: GgmlType },
): boolean => {
  // The answer depends on where the weights lie, so a probe tensor is allocated there; nothing is written to it:
  // writing into a repacking buffer of an unsupported type ends the process.
  const context = createContext(ggml, 8)
  const weight = ggml.new_tensor_2d(context, matrix.type, matrix.columns, probeRows(matrix.rows))
  const buffer = ggml.backend_alloc_ctx_tensors_from_buft(context, bufferType) as Pointer | null
  if (buffer === null) {
    ggml.free(context)
    return false
  }
  const probe = createContext(ggml, 8)
  const input = ggml.new_tensor_2d(probe, types.f32, matrix.columns, 1)
  const answer = ggml.backend_dev_supports_op(device, ggml.mul_mat(probe, weight, input))
  ggml.backend_buffer_free(buffer)
  ggml.free(probe)
  ggml.free(context)
  return answer
}

const readTensor = (handle: number, { offset, length }: ShardTensor): Uint8Array => {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length;) {
    const got = readSync(handle, bytes, at, length - at, offset + at)
    if (got === 0) throw new MeshError('shardCorrupt', { file: 'weights', problem: 'it ends early' })
    at += got
  }
  return bytes
}

const floats = (bytes: Uint8Array): Float32Array =>
  new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)

const bytesOf = (handle: number, shard: ShardFile, quant: Quant, name: string): Uint8Array => {
  const read = (suffix: string): Uint8Array => {
    const tensor = shard.tensors.get(name + suffix)
    if (!tensor) throw new Error(`shard file lacks ${name}${suffix}`)
    return readTensor(handle, tensor)
  }
  if (quant === 'f32') return read('.w')
  return quant === 'q4' ? toQ4Blocks(read('.q'), floats(read('.s'))) : toQ8Blocks(read('.q'), floats(read('.s')))
}

/** Loads all tensors. @param progress called with 0..1 */
export const loadWeights = (
  ggml: Ggml,
  device: GgmlDevice,
  { shard, quant, rope, shape }: Pick<BackendOptions, 'shard' | 'quant' | 'rope' | 'shape'>,
  progress: (fraction: number) => void,
): Weights => {
  const type = typeOf[quant]
  const stored = matricesOf(shard, quant)
  const matrices = stored.flatMap(({ parts }) => parts)
  const tensors = new Map<string, Pointer>()
  const usable = quant === 'f32' ? device.bufferTypes.filter(({ name }) => name === 'CPU') : device.bufferTypes
  const chosen = matrices.map((matrix) => ({
    matrix,
    buffer:
      usable.find(({ type: bufferType }) => supports(ggml, device, bufferType, { ...matrix, type })) ??
      usable[usable.length - 1],
  }))
  for (const { name, type: bufferType } of usable) {
    const group = chosen.filter(({ buffer }) => buffer.name === name)
    if (group.length === 0) continue
    const context = createContext(ggml, group.length + 1)
    for (const { matrix } of group)
      tensors.set(matrix.name, ggml.new_tensor_2d(context, type, matrix.columns, matrix.rows))
    if ((ggml.backend_alloc_ctx_tensors_from_buft(context, bufferType) as Pointer | null) === null)
      throw new MeshError('backendFailed', { backend: 'ggml', problem: `no memory for ${group.length} matrices` })
  }
  const norms = [...shard.tensors].filter(([name]) => name.endsWith('norm'))
  const divisors = rope.scaling ? Float32Array.from(ropeDivisors(rope, shape.headDim)) : undefined
  const context = createContext(ggml, norms.length + 2)
  for (const [name, { dims }] of norms) tensors.set(name, ggml.new_tensor_1d(context, types.f32, dims[0]))
  if (divisors) tensors.set(ropeDivisorsName, ggml.new_tensor_1d(context, types.f32, divisors.length))
  if (norms.length > 0 || divisors) ggml.backend_alloc_ctx_tensors(context, device.backend)

  const handle = openSync(shard.weights, 'r')
  try {
    const set = (name: string, bytes: Uint8Array): void => {
      const tensor = tensors.get(name) as Pointer
      const expected = Number(ggml.nbytes(tensor))
      if (bytes.length !== expected)
        throw new MeshError('backendFailed', {
          backend: 'ggml',
          problem: `${name}: ${bytes.length} bytes, ggml wants ${expected}`,
        })
      ggml.backend_tensor_set(tensor, bytes, 0, bytes.length)
    }
    for (const [name, tensor] of norms) set(name, readTensor(handle, tensor))
    if (divisors) set(ropeDivisorsName, new Uint8Array(divisors.buffer))
    for (const [index, { name, parts }] of stored.entries()) {
      const bytes = bytesOf(handle, shard, quant, name)
      const partBytes = bytes.length / parts.length
      for (const [part, matrix] of parts.entries())
        set(matrix.name, bytes.subarray(part * partBytes, (part + 1) * partBytes))
      progress((index + 1) / stored.length)
    }
  } finally {
    closeSync(handle)
  }
  return {
    get: (name) => {
      const found = tensors.get(name)
      if (found === undefined) throw new Error(`no tensor ${name}`)
      return found
    },
    has: (name) => tensors.has(name),
    buffer: [...new Set(chosen.map(({ buffer }) => buffer.name))].join('+'),
  }
}
