/**
 * Keys and values of one sequence on one rank: per layer [kvHeads, capacity, headDim] for each of the two, in f16 (half
 * the memory and, converted inside the graph, half the time of f32 at long contexts) or in f32 for exact comparisons.
 * New rows are written in place. Capacity grows by whole buckets, because attention computes over all of it; only then
 * are old rows moved.
 */
import { f16, f32, type Value } from './session.ts'

/** Rows by which the cache grows. */
const bucketRows = 256

export type CacheType = 'f16' | 'f32'
export type CacheRows = Float16Array | Float32Array

interface LayerCache {
  readonly keys: CacheRows
  readonly values: CacheRows
}

export interface CacheShape {
  readonly layers: number
  readonly kvHeads: number
  readonly headDim: number
  readonly type: CacheType
}

export class KvCache {
  readonly #shape: CacheShape
  readonly #layers: LayerCache[]
  #capacity = 0
  #length = 0

  constructor(shape: CacheShape) {
    this.#shape = shape
    this.#layers = Array.from({ length: shape.layers }, () => ({ keys: this.#room(0), values: this.#room(0) }))
  }

  /** Rows that fit now. */
  get capacity(): number {
    return this.#capacity
  }

  /** What the graphs read: [1, kvHeads, capacity, headDim]. */
  layer(index: number): { readonly kCache: Value; readonly vCache: Value } {
    const { kvHeads, headDim } = this.#shape
    const { keys, values } = this.#layers[index]
    const dims = [1, kvHeads, this.#capacity, headDim]
    return { kCache: tensorOf(keys, dims), vCache: tensorOf(values, dims) }
  }

  /** Makes room for rows 0 .. rows - 1; rows written so far keep their values. */
  reserve(rows: number): void {
    if (rows <= this.#capacity) return
    const capacity = Math.ceil(rows / bucketRows) * bucketRows
    for (const [index, { keys, values }] of this.#layers.entries())
      this.#layers[index] = { keys: this.#grown(keys, capacity), values: this.#grown(values, capacity) }
    this.#capacity = capacity
  }

  /**
   * Writes rows position .. position + count - 1 of one layer.
   * @param keys, values [count, kvHeads * headDim]
   */
  append(layer: number, position: number, { keys, values }: LayerCache): void {
    const { kvHeads, headDim } = this.#shape
    const into = this.#layers[layer]
    const count = keys.length / (kvHeads * headDim)
    for (let row = 0; row < count; row++) {
      for (let head = 0; head < kvHeads; head++) {
        const from = (row * kvHeads + head) * headDim
        const to = (head * this.#capacity + position + row) * headDim
        into.keys.set(keys.subarray(from, from + headDim), to)
        into.values.set(values.subarray(from, from + headDim), to)
      }
    }
    this.#length = Math.max(this.#length, position + count)
  }

  #room(capacity: number): CacheRows {
    const { kvHeads, headDim, type } = this.#shape
    const elements = kvHeads * capacity * headDim
    return type === 'f16' ? new Float16Array(elements) : new Float32Array(elements)
  }

  #grown(old: CacheRows, capacity: number): CacheRows {
    const { kvHeads, headDim } = this.#shape
    const grown = this.#room(capacity)
    for (let head = 0; head < kvHeads; head++) {
      const from = head * this.#capacity * headDim
      grown.set(old.subarray(from, from + this.#length * headDim), head * capacity * headDim)
    }
    return grown
  }
}

/** Cache rows as an input of a graph, without a copy. */
export const tensorOf = (rows: CacheRows, dims: readonly number[]): Value =>
  rows instanceof Float32Array ? f32(rows, dims) : f16(rows, dims)
