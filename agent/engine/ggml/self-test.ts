/**
 * A small product and an attention over known numbers, checked against plain JavaScript before real work: prebuilt
 * kernels differ from CPU to CPU, and a wrong one must be found here, not in somebody's text.
 */
import { MeshError } from '../../../shared/errors.ts'
import { type GgmlDevice, openDevice } from './device.ts'
import { type Ggml, openGgml, type Pointer, types } from './library.ts'
import { createMemory } from './memory.ts'
import { createContext } from './weights.ts'
import { toQ4Blocks } from './blocks.ts'

/** Relative error allowed: 8-bit activations give about half a percent. */
const tolerance = 0.02

/** Small whole numbers in a fixed order. */
const pattern = (length: number, period: number): Float32Array =>
  Float32Array.from({ length }, (_, i) => ((i * 7 + (i % 5) * 3) % period) - (period - 1) / 2)

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

const product = (ggml: Ggml, device: GgmlDevice, bufferType: Pointer, name: string): void => {
  const [columns, rows, inputs] = [256, 64, 5]
  const codes = Uint8Array.from({ length: (columns * rows) / 2 }, (_, i) => (i * 37 + 11) & 0xff)
  const scales = new Float32Array((columns * rows) / 32).fill(0.5)
  const x = pattern(columns * inputs, 13)
  const context = createContext(ggml, 4)
  const weight = ggml.new_tensor_2d(context, types.q4_0, columns, rows)
  const buffer = ggml.backend_alloc_ctx_tensors_from_buft(context, bufferType)
  const memory = createMemory(ggml, (columns + rows) * inputs * 4 + 256)
  const graphContext = createContext(ggml, 8, 8)
  const input = ggml.new_tensor_2d(graphContext, types.f32, columns, inputs)
  memory.place(input, 0)
  const y = ggml.mul_mat(graphContext, weight, input)
  memory.place(y, columns * inputs * 4)
  if (ggml.backend_dev_supports_op(device.device, y)) {
    const blocks = toQ4Blocks(codes, scales)
    ggml.backend_tensor_set(weight, blocks, 0, blocks.length)
    new Float32Array(memory.memory, memory.start, x.length).set(x)
    const graph = ggml.new_graph_custom(graphContext, 8, false)
    ggml.build_forward_expand(graph, y)
    ggml.backend_graph_compute(device.backend, graph)
    const want = new Float32Array(rows * inputs)
    for (let i = 0; i < inputs; i++) {
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++) {
          const byte = codes[(row * columns + column) >> 1]
          want[i * rows + row] += ((column % 2 === 0 ? byte & 15 : byte >> 4) - 8) * 0.5 * x[i * columns + column]
        }
      }
    }
    check(
      `a product in ${name}`,
      relativeError(new Float32Array(memory.memory, memory.start + columns * inputs * 4, want.length), want),
    )
  }
  memory.free()
  ggml.backend_buffer_free(buffer)
  ggml.free(graphContext)
  ggml.free(context)
}

/** @throws MeshError `backendFailed` when the libraries are missing, untested or wrong on this machine */
export const selfTest = (threads: number): void => {
  const ggml = openGgml()
  const device = openDevice(ggml, threads)
  for (const { name, type } of device.bufferTypes) product(ggml, device, type, name)
  device.close()
}
