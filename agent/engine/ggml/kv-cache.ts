/**
 * Keys and values of one sequence: per layer [capacity, kvHeads * headDim] each, f16 (f32 for f32 weights), allocated
 * once for the whole context. Pages that were never written take no memory, and nothing is ever copied.
 */
import { createMemory, align, type SharedMemory } from './memory.ts'
import { type Ggml, type Pointer, types } from './library.ts'

export class GgmlKvCache {
  readonly elementBytes: number
  readonly #ggml: Ggml
  readonly #memory: SharedMemory
  readonly #width: number
  readonly #capacity: number
  readonly #tensorBytes: number

  constructor(
    ggml: Ggml,
    size: { readonly layers: number; readonly width: number; readonly capacity: number; readonly full: boolean },
  ) {
    this.#ggml = ggml
    this.elementBytes = size.full ? 4 : 2
    this.#width = size.width
    this.#capacity = size.capacity
    this.#tensorBytes = align(size.width * size.capacity * this.elementBytes)
    this.#memory = createMemory(ggml, this.#tensorBytes * 2 * size.layers)
  }

  /** Tensors over the cache of one layer, described in that context. */
  tensors(context: Pointer, layer: number): { readonly keys: Pointer; readonly values: Pointer } {
    const make = (index: number): Pointer => {
      const tensor = this.#ggml.new_tensor_2d(
        context,
        this.elementBytes === 4 ? types.f32 : types.f16,
        this.#width,
        this.#capacity,
      )
      this.#memory.place(tensor, index * this.#tensorBytes)
      return tensor
    }
    return { keys: make(2 * layer), values: make(2 * layer + 1) }
  }

  free(): void {
    this.#memory.free()
  }
}
