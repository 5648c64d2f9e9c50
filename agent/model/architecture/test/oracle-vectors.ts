/** Arithmetic of the oracle: float64, sums from left to right. */
import type { Activation } from '../model-spec.ts'

export type Vector = Float64Array
export interface Matrix {
  readonly rows: number
  readonly columns: number
  readonly values: Float64Array
}

export const dot = (a: Vector, b: Vector): number => {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i]
  return sum
}

export const add = (a: Vector, b: Vector): Vector => a.map((value, i) => value + b[i])
export const scaled = (a: Vector, factor: number): Vector => a.map((value) => value * factor)

/** Rows `from`..`to` - 1 of a matrix times a vector. */
export const multiply = ({ rows, columns, values }: Matrix, x: Vector, from = 0, to = rows): Vector => {
  if (x.length !== columns) throw new Error(`${columns} columns times ${x.length} values`)
  return Float64Array.from({ length: to - from }, (_, row) => {
    const start = (from + row) * columns
    let sum = 0
    for (let i = 0; i < columns; i++) sum += values[start + i] * x[i]
    return sum
  })
}

export const rmsNorm = (x: Vector, epsilon: number, weight?: Vector): Vector => {
  const factor = 1 / Math.sqrt(dot(x, x) / x.length + epsilon)
  return x.map((value, i) => value * factor * (weight?.[i] ?? 1))
}

export const layerNorm = (x: Vector, epsilon: number, weight?: Vector): Vector => {
  const mean = x.reduce((sum, value) => sum + value, 0) / x.length
  return rmsNorm(
    x.map((value) => value - mean),
    epsilon,
    weight,
  )
}

export const softmax = (x: readonly number[] | Vector): Vector => {
  const most = Math.max(...x)
  const powers = Float64Array.from(x, (value) => Math.exp(value - most))
  return scaled(powers, 1 / powers.reduce((sum, value) => sum + value, 0))
}

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))
export const silu = (x: number): number => x * sigmoid(x)

/** Error function by its series, and by the continued fraction of its complement where that is quicker. */
const erf = (x: number): number => {
  if (Math.abs(x) > 2) {
    const y = Math.abs(x)
    let below = y
    for (let n = 80; n > 0; n--) below = y + n / 2 / below
    return Math.sign(x) * (1 - Math.exp(-y * y) / (below * Math.sqrt(Math.PI)))
  }
  let term = x
  let sum = x
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
    term *= (-x * x) / n
    sum += term / (2 * n + 1)
  }
  return (2 / Math.sqrt(Math.PI)) * sum
}

const geluTanh = (x: number): number => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))

/** As ggml's CPU backend looks it up: a table in f16. */
const geluTable = (x: number): number =>
  Math.abs(x) >= 10 ? Math.max(0, x) : Math.f16round(geluTanh(Math.f16round(x)))

const simple: Readonly<Record<Exclude<Activation, object> | 'geluTable', (x: number) => number>> = {
  silu,
  geluTable,
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  geluTanh,
  relu2: (x) => Math.max(0, x) ** 2,
}

/** What goes into `down`; without a gate the activation is of `up`. */
export const activate = (activation: Activation, gate: Vector | undefined, up: Vector): Vector => {
  if (typeof activation === 'string') {
    const of = simple[activation]
    return gate ? up.map((value, i) => of(gate[i]) * value) : up.map(of)
  }
  const { alpha, limit } = activation
  if (!gate) throw new Error('a clamped GLU has a gate')
  return up.map((value, i) => {
    const capped = Math.min(gate[i], limit)
    return capped * sigmoid(alpha * capped) * (Math.min(limit, Math.max(-limit, value)) + 1)
  })
}
