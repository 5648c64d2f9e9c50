/**
 * Keys and values of one sequence: per layer [capacity, own kvHeads * headDim] each, f16 (f32 for f32 weights),
 * allocated once for the whole context. Pages that were never written take no memory, and nothing is ever copied.
 */
import { createMemory, align, type SharedMemory } from './memory.ts'
import { type Ggml, type Pointer, types } from './library.ts'

export interface CacheSize {
  /** Elements of a row of keys in each layer; 0 where the layer keeps none. */
  readonly widths: readonly number[]
  readonly capacity: number
  /** f32 instead of f16. */
  readonly full: boolean
}

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
    this.#offsets = size.widths.map((width) => {
      const offset = end
      end += 2 * this.#bytesOf(width)
      return offset
    })
    this.#memory = createMemory(ggml, end)
  }

  #bytesOf(width: number): number {
    return align(width * this.#size.capacity * this.elementBytes)
  }

  /** Tensors over the cache of one layer, described in that context. */
  tensors(context: Pointer, layer: number): { readonly keys: Pointer; readonly values: Pointer } {
    const width = this.#size.widths[layer]
    const make = (offset: number): Pointer => {
      const type = this.elementBytes === 4 ? types.f32 : types.f16
      const tensor = this.#ggml.new_tensor_2d(context, type, width, this.#size.capacity)
      this.#memory.place(tensor, offset)
      return tensor
    }
    const offset = this.#offsets[layer]
    return { keys: make(offset), values: make(offset + this.#bytesOf(width)) }
  }

  free(): void {
    this.#memory.free()
  }
}
