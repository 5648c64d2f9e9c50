/**
 * Small products (of quantised matrices, and of experts in them) and the other operations over known numbers, checked
 * against plain JavaScript before real work: prebuilt kernels differ from CPU to CPU, and a wrong one must be found
 * here, not in somebody's text.
 */
import { MeshError } from '../../../shared/errors.ts'
import { type GgmlDevice, openDevice } from './device.ts'
import { type Ggml, openGgml, type Pointer, types } from './library.ts'
import { align, createMemory } from './memory.ts'
import { pattern, type TestedOperation, type TestTensor, testedOperations } from './self-test-operations.ts'
import { createContext } from './weights.ts'
import { toQ4Blocks } from './blocks.ts'

/** Relative error allowed: 8-bit activations give about half a percent. */
const tolerance = 0.02

const relativeError = (got: Float32Array, want: Float32Array): number => {
  let difference = 0
  let size = 0
  for (const [i, value] of want.entries()) {
    difference += (got[i] - value) ** 2
    size += value ** 2
  }
  return Math.sqrt(difference / size)
}

const check = (what: string, error: number): void => {
  if (!(error <= tolerance))
    throw new MeshError('backendFailed', {
      backend: 'ggml',
      problem: `self-test: ${what} is off by ${error.toExponential(1)}`,
    })
}

const tensorOf = (ggml: Ggml, context: Pointer, { type, dims: [first, second, third] }: TestTensor): Pointer => {
  if (third !== undefined) return ggml.new_tensor_3d(context, types[type], first, second, third)
  if (second !== undefined) return ggml.new_tensor_2d(context, types[type], first, second)
  return ggml.new_tensor_1d(context, types[type], first)
}

interface Computed {
  readonly ggml: Ggml
  readonly device: GgmlDevice
  readonly inputs: readonly TestTensor[]
  /** Elements of the result. */
  readonly count: number
  /** Fills what lies elsewhere; called where the device has a kernel. */
  set?(): void
}

/** Runs a graph over inputs in plain memory. @returns undefined where the device has no kernel for it */
const compute = (
  { ggml, device, inputs, count, set }: Computed,
  build: (context: Pointer, inputs: readonly Pointer[]) => Pointer,
): Float32Array | undefined => {
  const sizes = inputs.map(({ values }) => align(values.byteLength))
  const memory = createMemory(ggml, sizes.reduce((sum, size) => sum + size, 0) + 4 * align(count * 4))
  const context = createContext(ggml, 16, 16)
  try {
    let at = 0
    const tensors = inputs.map((input, index) => {
      const tensor = tensorOf(ggml, context, input)
      memory.place(tensor, at)
      const { buffer, byteOffset, byteLength } = input.values
      new Uint8Array(memory.memory, memory.start + at, byteLength).set(new Uint8Array(buffer, byteOffset, byteLength))
      at += sizes[index]
      return tensor
    })
    const out = build(context, tensors)
    if (!ggml.backend_dev_supports_op(device.device, out)) return undefined
    set?.()
    const graph = ggml.new_graph_custom(context, 16, false)
    ggml.build_forward_expand(graph, out)
    memory.place(out, at)
    ggml.backend_graph_compute(device.backend, graph)
    return new Float32Array(memory.memory, memory.start + at, count).slice()
  } finally {
    memory.free()
    ggml.free(context)
  }
}

/** Plain products of rows with the codes of one matrix. */
const productOf = (codes: Uint8Array, x: Float32Array, columns: number, rows: number): Float32Array =>
  Float32Array.from({ length: rows }, (_, row) => {
    let sum = 0
    for (let column = 0; column < columns; column++) {
      const byte = codes[(row * columns + column) >> 1]
      sum += ((column % 2 === 0 ? byte & 15 : byte >> 4) - 8) * 0.5 * x[column]
    }
    return sum
  })

const [columns, rows, stacked] = [256, 64, 3]
const codes = Uint8Array.from({ length: (columns * rows * stacked) / 2 }, (_, i) => (i * 37 + 11 + (i >> 12)) & 0xff)
const ids = Int32Array.from([2, 0, 1, 1, 2])
const x = pattern(columns * ids.length, 13)

/** Quantised products of a buffer type: with one matrix, and with the experts of a stack that `ids` choose. */
const products = (ggml: Ggml, device: GgmlDevice, bufferType: Pointer, name: string): void => {
  const perExpert = codes.length / stacked
  for (const experts of [1, stacked]) {
    const context = createContext(ggml, 4)
    const weight =
      experts === 1
        ? ggml.new_tensor_2d(context, types.q4_0, columns, rows)
        : ggml.new_tensor_3d(context, types.q4_0, columns, rows, experts)
    const buffer = ggml.backend_alloc_ctx_tensors_from_buft(context, bufferType) as Pointer | null
    const blocks = toQ4Blocks(
      codes.subarray(0, perExpert * experts),
      new Float32Array((columns * rows * experts) / 32).fill(0.5),
    )
    const set = (): void => void ggml.backend_tensor_set(weight, blocks, 0, blocks.length)
    const inputs: TestTensor[] =
      experts === 1
        ? [{ type: 'f32', dims: [columns, ids.length], values: x }]
        : [
            { type: 'f32', dims: [columns, 1, ids.length], values: x },
            { type: 'i32', dims: [1, ids.length], values: ids },
          ]
    const got =
      buffer &&
      compute({ ggml, device, inputs, count: rows * ids.length, set }, (graph, [input, which]) =>
        experts === 1 ? ggml.mul_mat(graph, weight, input) : ggml.mul_mat_id(graph, weight, input, which),
      )
    const want = Array.from(ids, (id, row) => {
      const from = (experts === 1 ? 0 : id) * perExpert
      return [...productOf(codes.subarray(from, from + perExpert), x.subarray(row * columns), columns, rows)]
    })
    const what = experts === 1 ? 'a product' : 'a product with chosen experts'
    if (got) check(`${what} in ${name}`, relativeError(got, Float32Array.from(want.flat())))
    if (buffer) ggml.backend_buffer_free(buffer)
    ggml.free(context)
  }
}

const operation = (ggml: Ggml, device: GgmlDevice, { name, inputs, build, want }: TestedOperation): void => {
  const got = compute({ ggml, device, inputs, count: want.length }, (context, tensors) => build(ggml, context, tensors))
  if (got) check(name, relativeError(got, Float32Array.from(want)))
}

/**
 * @param ggml another one in tests: its kernels are those that are tested
 * @throws MeshError `backendFailed` when the libraries are missing, untested or wrong on this machine
 */
export const selfTest = (threads: number, ggml = openGgml()): void => {
  const device = openDevice(ggml, threads)
  for (const { name, type } of device.bufferTypes) products(ggml, device, type, name)
  for (const one of testedOperations) operation(ggml, device, one)
  device.close()
}
