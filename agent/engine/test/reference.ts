/**
 * The whole model in plain float64, unsharded and without a cache: the oracle of the differential tests.
 * Follows Hugging Face's Llama: RMSNorm, rotate-half RoPE, grouped-query attention, SwiGLU.
 */
import type { ModelShape } from '../../../shared/schema/model.ts'
import type { Rope } from '../../model/rope.ts'

/** Row-major [rows, columns]. */
export interface Matrix {
  readonly rows: number
  readonly columns: number
  readonly data: ArrayLike<number>
}

export interface ReferenceLayer {
  readonly attentionNorm: ArrayLike<number>
  readonly q: Matrix
  readonly k: Matrix
  readonly v: Matrix
  readonly o: Matrix
  readonly mlpNorm: ArrayLike<number>
  readonly gate: Matrix
  readonly up: Matrix
  readonly down: Matrix
}

export interface ReferenceModel {
  readonly shape: ModelShape
  readonly normEpsilon: number
  readonly rope: Rope
  readonly embedding: Matrix
  readonly layers: readonly ReferenceLayer[]
  readonly finalNorm: ArrayLike<number>
  readonly head: Matrix
}

const apply = ({ rows, columns, data }: Matrix, x: Float64Array): Float64Array => {
  const y = new Float64Array(rows)
  for (let row = 0; row < rows; row++) {
    let sum = 0
    for (let column = 0; column < columns; column++) sum += data[row * columns + column] * x[column]
    y[row] = sum
  }
  return y
}

const rmsNorm = (x: Float64Array, weight: ArrayLike<number>, epsilon: number): Float64Array => {
  const scale = 1 / Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / x.length + epsilon)
  return x.map((value, i) => value * scale * weight[i])
}

/**
 * The frequency of a pair as transformers scales it for Llama 3 (its `_compute_llama3_parameters`), written from the
 * formula and not with the engine's code: in waves of the original context instead of wavelengths.
 */
const turnsScaled = (frequency: number, { scaling }: Rope): number => {
  if (!scaling) return frequency
  const waves = (scaling.originalContext * frequency) / (2 * Math.PI)
  if (waves > scaling.highFrequencyFactor) return frequency
  if (waves < scaling.lowFrequencyFactor) return frequency / scaling.factor
  const smooth = (waves - scaling.lowFrequencyFactor) / (scaling.highFrequencyFactor - scaling.lowFrequencyFactor)
  return ((1 - smooth) * frequency) / scaling.factor + smooth * frequency
}

/** Rotates one head in place. */
const rotate = (head: Float64Array, position: number, rope: Rope): void => {
  const half = head.length / 2
  for (let i = 0; i < half; i++) {
    const angle = position * turnsScaled(rope.theta ** ((-2 * i) / head.length), rope)
    const [a, b] = [head[i], head[i + half]]
    head[i] = a * Math.cos(angle) - b * Math.sin(angle)
    head[i + half] = b * Math.cos(angle) + a * Math.sin(angle)
  }
}

const attend = (query: Float64Array, keys: readonly Float64Array[], values: readonly Float64Array[]): Float64Array => {
  const scores = keys.map((key) => key.reduce((sum, value, i) => sum + value * query[i], 0) / Math.sqrt(query.length))
  const top = Math.max(...scores)
  const weights = scores.map((score) => Math.exp(score - top))
  const total = weights.reduce((a, b) => a + b, 0)
  const out = new Float64Array(query.length)
  for (const [index, value] of values.entries())
    for (let i = 0; i < out.length; i++) out[i] += (weights[index] / total) * value[i]
  return out
}

const attention = (model: ReferenceModel, layer: ReferenceLayer, xs: readonly Float64Array[]): Float64Array[] => {
  const { heads, kvHeads, headDim } = model.shape
  const split = (x: Float64Array): Float64Array[] =>
    Array.from({ length: x.length / headDim }, (_, i) => x.slice(i * headDim, (i + 1) * headDim))
  const normed = xs.map((x) => rmsNorm(x, layer.attentionNorm, model.normEpsilon))
  const project = (matrix: Matrix, turned: boolean): Float64Array[][] =>
    normed.map((x, position) => {
      const parts = split(apply(matrix, x))
      if (turned) for (const part of parts) rotate(part, position, model.rope)
      return parts
    })
  const [q, k, v] = [project(layer.q, true), project(layer.k, true), project(layer.v, false)]
  return normed.map((_, position) => {
    const joined = new Float64Array(heads * headDim)
    for (let head = 0; head < heads; head++) {
      const kv = Math.floor(head / (heads / kvHeads))
      const seen = position + 1
      joined.set(
        attend(
          q[position][head],
          k.slice(0, seen).map((row) => row[kv]),
          v.slice(0, seen).map((row) => row[kv]),
        ),
        head * headDim,
      )
    }
    return apply(layer.o, joined)
  })
}

const mlp = (model: ReferenceModel, layer: ReferenceLayer, x: Float64Array): Float64Array => {
  const normed = rmsNorm(x, layer.mlpNorm, model.normEpsilon)
  const up = apply(layer.up, normed)
  return apply(
    layer.down,
    apply(layer.gate, normed).map((gate, i) => (gate / (1 + Math.exp(-gate))) * up[i]),
  )
}

/** Logits of every position: float64 [tokens][vocab]. */
export const referenceLogits = (model: ReferenceModel, tokens: readonly number[]): Float64Array[] => {
  const { hidden } = model.shape
  let xs = tokens.map((token) =>
    Float64Array.from({ length: hidden }, (_, i) => model.embedding.data[token * hidden + i]),
  )
  for (const layer of model.layers) {
    const attended = attention(model, layer, xs)
    xs = xs.map((x, row) => x.map((value, i) => value + attended[row][i]))
    xs = xs.map((x) => {
      const out = mlp(model, layer, x)
      return x.map((value, i) => value + out[i])
    })
  }
  return xs.map((x) => apply(model.head, rmsNorm(x, model.finalNorm, model.normEpsilon)))
}
