/**
 * Keys and values of one sequence: per layer [capacity, own kvHeads * headDim] each, f16 (f32 for f32 weights),
 * allocated once for the whole context. Pages that were never written take no memory, and nothing is ever copied.
 * Of latent attention a row is the latent and the turned part of the keys; values are the latent itself.
 */
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import type { RankRanges } from '../../../shared/schema/ring.ts'
import type { ModelSpec } from '../../model/architecture/model-spec.ts'
import { headsOf, isHeaded } from '../../model/shard-ranges.ts'
import { createMemory, align, type SharedMemory } from './memory.ts'
import { type Ggml, type Pointer, types } from './library.ts'

export interface CacheWidths {
  readonly keys: number
  readonly values: number
}

export interface CacheSize {
  /** Elements of a row of each layer; 0 where the layer keeps none. */
  readonly widths: readonly CacheWidths[]
  readonly capacity: number
  /** f32 instead of f16. */
  readonly full: boolean
}

/** Rows that a rank with these ranges keeps. */
export const cacheWidthsOf = (spec: ModelSpec, ranges: RankRanges): CacheWidths[] =>
  spec.layers.map((kind) => {
    const { mixer } = spec.kinds[kind]
    if (!isHeaded(mixer) || sizeOf(headsOf(spec, ranges, mixer).kvHeads) === 0) return { keys: 0, values: 0 }
    if (mixer.kind === 'mla') return { keys: mixer.kvRank + mixer.ropeDim, values: 0 }
    const width = mixer.kvFrom === undefined ? sizeOf(headsOf(spec, ranges, mixer).kvHeads) * mixer.headDim : 0
    return { keys: width, values: width }
  })

export class GgmlKvCache {
  readonly elementBytes: number
  readonly #ggml: Ggml
  readonly #memory: SharedMemory
  readonly #size: CacheSize
  /** Where the keys of each layer begin; its values lie behind them. */
  readonly #offsets: readonly number[]

  constructor(ggml: Ggml, size: CacheSize) {
    this.#ggml = ggml
    this.elementBytes = size.full ? 4 : 2
    this.#size = size
    let end = 0
    this.#offsets = size.widths.map(({ keys, values }) => {
      const offset = end
      end += this.#bytesOf(keys) + this.#bytesOf(values)
      return offset
    })
    this.#memory = createMemory(ggml, end)
  }

  #bytesOf(width: number): number {
    return align(width * this.#size.capacity * this.elementBytes)
  }

  /** Tensors over the cache of one layer, described in that context. */
  tensors(context: Pointer, layer: number): { readonly keys: Pointer; readonly values: Pointer } {
    const { keys, values } = this.#size.widths[layer]
    const make = (width: number, offset: number): Pointer => {
      const type = this.elementBytes === 4 ? types.f32 : types.f16
      const tensor = this.#ggml.new_tensor_2d(context, type, width, this.#size.capacity)
      this.#memory.place(tensor, offset)
      return tensor
    }
    const offset = this.#offsets[layer]
    return { keys: make(keys, offset), values: make(values, offset + this.#bytesOf(keys)) }
  }

  free(): void {
    this.#memory.free()
  }
}
