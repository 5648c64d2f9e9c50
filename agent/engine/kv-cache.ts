/**
 * Keys and values of one sequence on one rank: per layer f32 [kvHeads, capacity, headDim] for each of the two.
 * Capacity grows by whole buckets, so that copying old rows is rare; new rows are written in place.
 */

/** Rows by which the cache grows. */
const bucketRows = 256

interface LayerCache {
  readonly keys: Float32Array
  readonly values: Float32Array
}

export class KvCache {
  readonly #layers: LayerCache[] = []
  readonly #kvHeads: number
  readonly #headDim: number
  #capacity = 0
  #length = 0

  constructor(layers: number, kvHeads: number, headDim: number) {
    this.#kvHeads = kvHeads
    this.#headDim = headDim
    for (let layer = 0; layer < layers; layer++) this.#layers.push({ keys: new Float32Array(0), values: new Float32Array(0) })
  }

  /** Rows that fit now. */
  get capacity(): number {
    return this.#capacity
  }

  layer(index: number): LayerCache {
    return this.#layers[index]
  }

  /** Makes room for rows 0 .. rows - 1; rows written so far keep their values. */
  reserve(rows: number): void {
    if (rows <= this.#capacity) return
    const capacity = Math.ceil(rows / bucketRows) * bucketRows
    const size = this.#headDim
    const grow = (old: Float32Array): Float32Array => {
      const grown = new Float32Array(this.#kvHeads * capacity * size)
      for (let head = 0; head < this.#kvHeads; head++) {
        const from = head * this.#capacity * size
        grown.set(old.subarray(from, from + this.#length * size), head * capacity * size)
      }
      return grown
    }
    for (const [index, layer] of this.#layers.entries()) this.#layers[index] = { keys: grow(layer.keys), values: grow(layer.values) }
    this.#capacity = capacity
  }

  /**
   * Writes rows position .. position + count - 1 of one layer.
   * @param keys, values f32 [kvHeads, count, headDim]
   */
  append(layer: number, position: number, count: number, rows: LayerCache): void {
    const size = this.#headDim
    for (let head = 0; head < this.#kvHeads; head++) {
      const from = head * count * size
      const to = (head * this.#capacity + position) * size
      this.#layers[layer].keys.set(rows.keys.subarray(from, from + count * size), to)
      this.#layers[layer].values.set(rows.values.subarray(from, from + count * size), to)
    }
    this.#length = Math.max(this.#length, position + count)
  }
}
