/** The shard's tensors as ggml has them, matrices in the fastest buffer that this CPU has for their type. */
import { closeSync, openSync } from 'node:fs'
import { MeshError } from '../../../shared/errors.ts'
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import type { Quant } from '../../../shared/schema/model.ts'
import { layerSpec, type ModelSpec } from '../../model/architecture/model-spec.ts'
import { weightFormats } from '../../model/blocks/formats.ts'
import type { ShardTensor } from '../../model/shard-cache.ts'
import { headsOf } from '../../model/shard-ranges.ts'
import type { BackendOptions } from '../backend.ts'
import { floatsOf, readTensor } from '../plain-tensors.ts'
import { toQ4Blocks, toQ8Blocks } from './blocks.ts'
import { type GgmlDevice } from './device.ts'
import { type Ggml, type Pointer, types } from './library.ts'
import { divisorsName, rotationIn, variantsOf } from './rotation.ts'

export interface Weights {
  /** The tensor of that name in the shard's table, without suffix; `gate` and `up` for `gateUp`; or `divisorsName`. */
  get(name: string): Pointer
  has(name: string): boolean
  /** Kind of buffer the matrices lie in, for the log. */
  readonly buffer: string
}

const suffixes = ['.w', '.q']

interface Matrix {
  readonly name: string
  /** `ggml_type` */
  readonly type: number
  readonly columns: number
  /** Of each expert, where it is a stack of them. */
  readonly rows: number
  readonly experts?: number
  /** The same of heads that are each multiplied with their own. */
  readonly heads?: number
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

/** Experts in a stack of that name; undefined where it is one matrix. */
const expertsIn = (spec: ModelSpec, name: string): number | undefined => {
  const layer = /^layers\.(\d+)\.mlp\.experts\./.exec(name)?.[1]
  return layer === undefined ? undefined : layerSpec(spec, Number(layer)).feedForward.experts?.count
}

/** Heads in a matrix of that name, whose rows are each of the others'; undefined where it is one matrix. */
const headsIn = ({ spec, ranges }: BackendOptions, name: string): number | undefined => {
  const layer = /^layers\.(\d+)\.mla\.[kv]b$/.exec(name)?.[1]
  const mixer = layer === undefined ? undefined : layerSpec(spec, Number(layer)).mixer
  return mixer?.kind === 'mla' ? sizeOf(headsOf(spec, ranges, mixer).heads) : undefined
}

const typeOf = (quant: Quant, dtype: ShardTensor['dtype']): number => {
  if (quant === 'q4') return types.q4_0
  return quant === 'q8' ? types.q8_0 : dtype === 'f32' || dtype === 'u8' ? types.f32 : weightFormats[dtype].id
}

/** Rows and columns of every matrix in the shard. */
const matricesOf = (options: BackendOptions): Stored[] =>
  [...options.shard.tensors]
    .filter(([name]) => suffixes.some((suffix) => name.endsWith(suffix)))
    .map(([file, { dtype, dims }]) => {
      const name = file.slice(0, file.lastIndexOf('.'))
      const names = partNames(name)
      const experts = expertsIn(options.spec, name)
      const heads = headsIn(options, name)
      return {
        name,
        parts: names.map((part) => ({
          name: part,
          type: typeOf(options.quant, dtype),
          rows: dims[0] / names.length / (experts ?? heads ?? 1),
          columns: file.endsWith('.w') ? dims[1] : dims[1] * 32,
          experts,
          heads,
        })),
      }
    })

/** A context that holds `tensors` descriptors and no data. */
export const createContext = (ggml: Ggml, tensors: number, nodes = 0): Pointer => {
  const graph = nodes > 0 ? Number(ggml.graph_overhead_custom(nodes, false)) : 0
  return ggml.init({
    mem_size: Number(ggml.tensor_overhead()) * tensors + graph + 1024,
    mem_buffer: null,
    no_alloc: true,
  })
}

const tensorOf = (ggml: Ggml, context: Pointer, { type, columns, rows, experts, heads }: Matrix): Pointer => {
  const stack = experts ?? heads
  return stack === undefined
    ? ggml.new_tensor_2d(context, type, columns, rows)
    : ggml.new_tensor_3d(context, type, columns, rows, stack)
}

/** Fewer rows than the matrix has, but of the same remainder: repacked layouts take whole groups of rows only. */
const probeRows = (rows: number): number => Math.min(rows, 256 + (rows % 256))

/** True when the device multiplies matrices of that shape from that kind of buffer. */
const supports = (ggml: Ggml, { device }: GgmlDevice, bufferType: Pointer, matrix: Matrix): boolean => {
  // The answer depends on where the weights lie, so a probe tensor is allocated there; nothing is written to it:
  // writing into a repacking buffer of an unsupported type ends the process.
  const { rows, columns, experts } = matrix
  const context = createContext(ggml, 8)
  const probed = { ...matrix, heads: undefined, rows: probeRows(rows), experts: experts && Math.min(experts, 2) }
  const weight = tensorOf(ggml, context, probed)
  const buffer = ggml.backend_alloc_ctx_tensors_from_buft(context, bufferType) as Pointer | null
  if (buffer === null) {
    ggml.free(context)
    return false
  }
  const probe = createContext(ggml, 8)
  const product =
    experts === undefined
      ? ggml.mul_mat(probe, weight, ggml.new_tensor_2d(probe, types.f32, columns, 1))
      : ggml.mul_mat_id(
          probe,
          weight,
          ggml.new_tensor_3d(probe, types.f32, columns, 1, 1),
          ggml.new_tensor_2d(probe, types.i32, 1, 1),
        )
  const answer = ggml.backend_dev_supports_op(device, product)
  ggml.backend_buffer_free(buffer)
  ggml.free(probe)
  ggml.free(context)
  return answer
}

const bytesOf = (handle: number, { shard, quant }: BackendOptions, name: string): Uint8Array => {
  const read = (suffix: string): Uint8Array => {
    const tensor = shard.tensors.get(name + suffix)
    if (!tensor) throw new Error(`shard file lacks ${name}${suffix}`)
    return readTensor(handle, tensor)
  }
  if (quant === 'f32' || quant === 'file') return read('.w')
  return quant === 'q4' ? toQ4Blocks(read('.q'), floatsOf(read('.s'))) : toQ8Blocks(read('.q'), floatsOf(read('.s')))
}

/** Numbers that graphs take as they are; what JavaScript computes with stays in the file. */
const plainOf = ({ shard }: BackendOptions): [string, ShardTensor][] =>
  [...shard.tensors].filter(([name]) => !/\.[wqs]$/.test(name) && !/\.(router|postNorm)(\.|$)/.test(name))

/** Divisors of the rotations, under their names. */
const divisorsOf = ({ spec }: BackendOptions): [string, Float32Array][] =>
  spec.kinds.flatMap(({ mixer }, kind): [string, Float32Array][] => {
    const rope = mixer.kind === 'delta' ? undefined : mixer.rope
    if (!rope) return []
    return variantsOf(rope).flatMap((variant): [string, Float32Array][] => {
      const { divisors } = rotationIn(rope, variant)
      return divisors ? [[divisorsName(kind, variant), divisors]] : []
    })
  })

/** Makes a tensor for each matrix, in the best kind of buffer that can multiply with it. @returns names of the buffers */
const placeMatrices = (
  ggml: Ggml,
  device: GgmlDevice,
  matrices: readonly Matrix[],
  tensors: Map<string, Pointer>,
): string[] => {
  // repacked layouts are of one matrix, or of experts
  const usableFor = ({ type, heads }: Matrix): GgmlDevice['bufferTypes'] =>
    type === types.f32 || heads !== undefined
      ? device.bufferTypes.filter(({ name }) => name === 'CPU')
      : device.bufferTypes
  const answers = new Map<string, GgmlDevice['bufferTypes'][number]>()
  const bufferFor = (matrix: Matrix): GgmlDevice['bufferTypes'][number] => {
    const key = [matrix.type, matrix.columns, matrix.rows, matrix.experts, matrix.heads].join()
    const usable = usableFor(matrix)
    const found =
      answers.get(key) ?? usable.find(({ type }) => supports(ggml, device, type, matrix)) ?? usable[usable.length - 1]
    answers.set(key, found)
    return found
  }
  const chosen = matrices.map((matrix) => ({ matrix, buffer: bufferFor(matrix) }))
  for (const { name, type: bufferType } of device.bufferTypes) {
    const group = chosen.filter(({ buffer }) => buffer.name === name)
    if (group.length === 0) continue
    const context = createContext(ggml, group.length + 1)
    for (const { matrix } of group) tensors.set(matrix.name, tensorOf(ggml, context, matrix))
    if ((ggml.backend_alloc_ctx_tensors_from_buft(context, bufferType) as Pointer | null) === null)
      throw new MeshError('backendFailed', { backend: 'ggml', problem: `no memory for ${group.length} matrices` })
  }
  return [...new Set(chosen.map(({ buffer }) => buffer.name))]
}

/** Loads all tensors. @param progress called with 0..1 */
export const loadWeights = (
  ggml: Ggml,
  device: GgmlDevice,
  options: BackendOptions,
  progress: (fraction: number) => void,
): Weights => {
  const stored = matricesOf(options)
  const tensors = new Map<string, Pointer>()
  const buffers = placeMatrices(
    ggml,
    device,
    stored.flatMap(({ parts }) => parts),
    tensors,
  )
  const plain = plainOf(options)
  const divisors = divisorsOf(options)
  const context = createContext(ggml, plain.length + divisors.length + 1)
  for (const [name, { dims }] of plain)
    tensors.set(
      name,
      dims.length === 1
        ? ggml.new_tensor_1d(context, types.f32, dims[0])
        : ggml.new_tensor_2d(context, types.f32, dims[1], dims[0]),
    )
  for (const [name, { length }] of divisors) tensors.set(name, ggml.new_tensor_1d(context, types.f32, length))
  if (plain.length + divisors.length > 0) ggml.backend_alloc_ctx_tensors(context, device.backend)

  const handle = openSync(options.shard.weights, 'r')
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
    for (const [name, tensor] of plain) set(name, readTensor(handle, tensor))
    for (const [name, values] of divisors) set(name, new Uint8Array(values.buffer))
    for (const [index, { name, parts }] of stored.entries()) {
      const bytes = bytesOf(handle, options, name)
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
    buffer: buffers.join('+'),
  }
}
