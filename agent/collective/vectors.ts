/**
 * Loops over whole tensors, for sums of half layers. Ranks may not differ in a bit, so whoever brings quicker ones
 * (`engine/ggml/vectors.ts`) checks them against these.
 */
export interface Vectors {
  /** Rounds to the nearest, ties to even; both lists have the same length, as in all three. */
  toHalf(from: Float32Array, into: Uint16Array): void
  toFloat(from: Uint16Array, into: Float32Array): void
  /** sum += part */
  add(sum: Float32Array, part: Float32Array): void
}

const floats16 = (bits: Uint16Array): Float16Array => new Float16Array(bits.buffer, bits.byteOffset, bits.length)

export const vectorsInJavaScript: Vectors = {
  toHalf: (from, into) => floats16(into).set(from),
  toFloat: (from, into) => {
    const values = floats16(from)
    for (let i = 0; i < into.length; i++) into[i] = values[i]
  },
  add: (sum, part) => {
    for (let i = 0; i < part.length; i++) sum[i] += part[i]
  },
}

/** Those of this process. */
export let vectors = vectorsInJavaScript

/** From now on, for all sums of this process. */
export const useVectors = (quicker: Vectors = vectorsInJavaScript): void => {
  vectors = quicker
}
