/** What the graphs of all halves are built from. */
import type { BackendOptions, Span } from '../backend.ts'
import type { GgmlDevice } from './device.ts'
import type { IoMemory } from './io-memory.ts'
import type { GgmlKvCache } from './kv-cache.ts'
import { type Ggml, type Pointer, types } from './library.ts'
import type { RecurrentState } from './recurrent-state.ts'
import type { Weights } from './weights.ts'

export interface GraphParts {
  readonly ggml: Ggml
  readonly device: GgmlDevice
  readonly options: BackendOptions
  readonly weights: Weights
  readonly io: IoMemory
  cache(slot: number): GgmlKvCache
  /** Beside the cache: what does not grow. */
  state(slot: number): RecurrentState
}

/** Where a graph is being built. */
export interface Building extends GraphParts {
  readonly context: Pointer
  readonly graph: Pointer
  readonly layer: number
  readonly rows: Rows
  /** What the rows are of; none for the head. */
  readonly spans: readonly Span[]
}

/** Rows of the buffers, one behind another. */
export interface Rows {
  readonly first: number
  readonly count: number
}

export const rowsOf = (spans: readonly Span[]): Rows => ({
  first: spans[0].start,
  count: spans.reduce((sum, { count }) => sum + count, 0),
})

export const f32Bytes = 4

/** The residual of the rows, f32 [rows, hidden]. */
export const residual = ({ ggml, io, options, context, rows }: Building): Pointer => {
  const x = ggml.new_tensor_2d(context, types.f32, options.spec.hidden, rows.count)
  io.placeHidden(x, rows.first)
  return x
}

/** The norm of that name, over the first dimension of x. */
export const normed = ({ ggml, options, weights, context }: Building, x: Pointer, name: string): Pointer => {
  const { kind, epsilon } = options.spec.norm
  const plain = kind === 'rms' ? ggml.rms_norm(context, x, epsilon) : ggml.norm(context, x, epsilon)
  return ggml.mul(context, plain, weights.get(name))
}

/** x times the matrix of that name, plus its bias where the shard holds one. */
export const projected = (building: Building, name: string, x: Pointer, biasName = `${name}.bias`): Pointer => {
  const { ggml, weights, context } = building
  const y = ggml.mul_mat(context, weights.get(name), x)
  return weights.has(biasName) ? ggml.add(context, y, weights.get(biasName)) : y
}
