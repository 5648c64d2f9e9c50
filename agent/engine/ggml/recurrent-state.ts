/**
 * What the delta nets of one rank keep of one sequence, whatever its length: the last inputs of the convolution and a
 * matrix for each value head, f32, of all layers in one piece of memory: a snapshot of a sequence is a copy of it.
 */
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import type { RankRanges } from '../../../shared/schema/ring.ts'
import { type DeltaSpec, layerSpec, type ModelSpec } from '../../model/architecture/model-spec.ts'
import { keyHeadsOf, stateOf, valuesPerKey } from '../../model/delta-cut.ts'
import type { Span } from '../backend.ts'
import { align, createMemory, type SharedMemory } from './memory.ts'
import { type Ggml, type Pointer, types } from './library.ts'

interface Place {
  readonly mixer: DeltaSpec
  /** Own key heads. */
  readonly keyHeads: number
  readonly offset: number
}

/** A state as it was at some position, to go on from there again. */
export interface StateSnapshot {
  /** Tokens that it had seen. */
  readonly length: number
  readonly bytes: Uint8Array
}

const floatBytes = 4

export class RecurrentState {
  readonly #ggml: Ggml
  readonly #memory: SharedMemory
  /** By layer; undefined where the rank keeps nothing. */
  readonly #places: readonly (Place | undefined)[]
  readonly #bytes: number
  /** Tokens that it has seen. */
  #length = 0

  constructor(ggml: Ggml, spec: ModelSpec, ranges: RankRanges) {
    this.#ggml = ggml
    let end = 0
    this.#places = spec.layers.map((_, layer) => {
      const { mixer } = layerSpec(spec, layer)
      if (mixer.kind !== 'delta') return undefined
      const keyHeads = sizeOf(keyHeadsOf(ranges, mixer))
      const { convolution, heads } = stateOf(mixer)
      const place = { mixer, keyHeads, offset: end }
      end += align(keyHeads * convolution * floatBytes) + align(keyHeads * heads * floatBytes)
      return place
    })
    this.#bytes = end
    this.#memory = createMemory(ggml, end)
  }

  /**
   * The tokens of a span come next: at position 0 it is emptied.
   * @throws Error where they do not follow what it has seen: a state cannot go back
   */
  advance({ position, count }: Pick<Span, 'position' | 'count'>): void {
    if (position === 0) this.#all().fill(0)
    else if (position !== this.#length)
      throw new Error(`a state of ${this.#length} tokens cannot go on at position ${position}`)
    this.#length = position + count
  }

  /** Tensors over the state of one layer: f32 [channels, taps - 1] and [value heads, valueDim, keyDim]. */
  tensors(context: Pointer, layer: number): { readonly inputs: Pointer; readonly heads: Pointer } {
    const place = this.#places[layer]
    if (!place) throw new Error(`layer ${layer} keeps no state`)
    const { mixer, keyHeads, offset } = place
    const before = mixer.convolution - 1
    const inputs = keyHeads * stateOf(mixer).convolution
    const convolved = this.#ggml.new_tensor_2d(context, types.f32, before, inputs / before)
    const valueHeads = keyHeads * valuesPerKey(mixer)
    const heads = this.#ggml.new_tensor_3d(context, types.f32, mixer.keyDim, mixer.valueDim, valueHeads)
    this.#memory.place(convolved, offset)
    this.#memory.place(heads, offset + align(inputs * floatBytes))
    return { inputs: convolved, heads }
  }

  /** A copy, for a later `restore`. */
  save(): StateSnapshot {
    return { length: this.#length, bytes: this.#all().slice() }
  }

  /** @param snapshot of a state of the same ranges */
  restore({ length, bytes }: StateSnapshot): void {
    this.#all().set(bytes)
    this.#length = length
  }

  #all(): Uint8Array {
    return new Uint8Array(this.#memory.memory, this.#memory.start, this.#bytes)
  }

  free(): void {
    this.#memory.free()
  }
}
