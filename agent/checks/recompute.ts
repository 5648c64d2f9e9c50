/** The MLP half of one rank for one row, in plain JavaScript: what the rank should have sent. */
import { type Activation, layerSpec } from '../model/architecture/model-spec.ts'
import type { HalfRequest, HeldRows, MatrixName } from './half-layer.ts'
import { shapeOf } from './half-layer.ts'
import { type BackendKind, closeCalls, type Rounded, roundActivations, turnedOver } from './rounding.ts'

/** A half layer that can be multiplied with. */
export interface HeldHalf {
  readonly request: HalfRequest
  /** f32 [hidden] */
  readonly norm: Float32Array
  /** All rows of a matrix, piece by piece; each is valid until the next one is asked for. */
  rows(name: MatrixName): Iterable<HeldRows>
}

export interface Partial {
  /** f32 [hidden] */
  readonly values: Float32Array
  /** Root of the summed squares of all that is added up in it: how large it would be if nothing cancelled out. */
  readonly terms: number
}

/** x / rms(x) * weight, rounded to f32 where the backends do. */
export const normed = (x: Float32Array, weight: Float32Array, epsilon: number): Float32Array => {
  let squares = 0
  for (let i = 0; i < x.length; i++) squares += x[i] * x[i]
  const scale = Math.fround(1 / Math.sqrt(Math.fround(squares / x.length) + epsilon))
  return Float32Array.from(x, (value, i) => Math.fround(value * scale) * weight[i])
}

const sigmoid = (value: number): number => 1 / (1 + Math.exp(-value))

/** erf by its own definition as an integral would be slow: Abramowitz and Stegun 7.1.26, off by 1.5e-7 at most. */
const erf = (value: number): number => {
  const t = 1 / (1 + 0.3275911 * Math.abs(value))
  const series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
  return Math.sign(value) * (1 - series * Math.exp(-value * value))
}

const plain: Readonly<Record<Exclude<Activation, object>, (gate: number) => number>> = {
  silu: (gate) => Math.fround(gate / (1 + Math.exp(-gate))),
  geluTanh: (gate) => gate * sigmoid(2 * Math.sqrt(2 / Math.PI) * (gate + 0.044715 * gate ** 3)),
  gelu: (gate) => (gate / 2) * (1 + erf(gate * Math.SQRT1_2)),
  relu2: (gate) => Math.max(0, gate) ** 2,
}

/** activation(gate) * up. @param gateUp f32 [2, columns] */
export const activated = (gateUp: Float32Array, activation: Activation = 'silu'): Float32Array => {
  const columns = gateUp.length / 2
  const out = new Float32Array(columns)
  if (typeof activation === 'object') {
    const { alpha, limit } = activation
    for (let i = 0; i < columns; i++) {
      const gate = Math.min(gateUp[i], limit)
      out[i] = gate * sigmoid(alpha * gate) * (Math.min(limit, Math.max(-limit, gateUp[columns + i])) + 1)
    }
    return out
  }
  const of = plain[activation]
  for (let i = 0; i < columns; i++) out[i] = of(gateUp[i]) * gateUp[columns + i]
  return out
}

/**
 * y of some rows, from 8-bit codes. Four columns at once, as numbers that hold their sums exactly: half the time of
 * integers one by one.
 * @param x codes of the input
 * @returns the summed squares of what each block gives
 */
const multiplyCodes = (
  y: Float32Array,
  { codes, scales }: Extract<HeldRows, { kind: 'codes' }>,
  { x, blockScales }: { readonly x: Float64Array; readonly blockScales: Float32Array },
): number => {
  const blocks = blockScales.length
  const block = x.length / blocks
  const rows = scales.length / blocks
  let squares = 0
  for (let row = 0, at = 0, weight = 0; row < rows; row++) {
    let sum = 0
    for (let index = 0, column = 0; index < blocks; index++, at++) {
      let dot = 0
      for (const end = column + block; column < end; column += 4, weight += 4) {
        dot +=
          x[column] * codes[weight] +
          x[column + 1] * codes[weight + 1] +
          (x[column + 2] * codes[weight + 2] + x[column + 3] * codes[weight + 3])
      }
      const term = dot * scales[at] * blockScales[index]
      sum += term
      squares += term * term
    }
    y[row] = sum
  }
  return squares
}

const multiplyFloats = (
  y: Float32Array,
  { values }: Extract<HeldRows, { kind: 'floats' }>,
  input: Float32Array,
): number => {
  let squares = 0
  for (let row = 0, at = 0; at < values.length; row++) {
    let sum = 0
    for (let column = 0; column < input.length; column++, at++) {
      const term = values[at] * input[column]
      sum += term
      squares += term * term
    }
    y[row] = sum
  }
  return squares
}

/** What goes into a product. */
type Input =
  | { readonly kind: 'codes'; readonly rounded: Rounded }
  | { readonly kind: 'floats'; readonly values: Float32Array }

const inputOf = ({ request }: HeldHalf, name: MatrixName, values: Float32Array, kind: BackendKind): Input => {
  if (request.quant === 'f32') return { kind: 'floats', values }
  const { width, lead } = shapeOf(request, name)
  const padded = new Float32Array(width)
  padded.set(values, lead)
  return { kind: 'codes', rounded: roundActivations(padded, request.block, kind) }
}

const multiply = (
  half: HeldHalf,
  name: MatrixName,
  input: Input,
): { readonly y: Float32Array; readonly squares: number } => {
  const y = new Float32Array(shapeOf(half.request, name).rows)
  const x =
    input.kind === 'codes'
      ? { x: Float64Array.from(input.rounded.codes), blockScales: input.rounded.scales }
      : undefined
  let done = 0
  let squares = 0
  for (const rows of half.rows(name)) {
    const count =
      rows.kind === 'codes'
        ? rows.codes.length / shapeOf(half.request, name).width
        : rows.values.length / shapeOf(half.request, name).width
    const into = y.subarray(done, done + count)
    if (rows.kind === 'codes' && x) squares += multiplyCodes(into, rows, x)
    else if (rows.kind === 'floats' && input.kind === 'floats') squares += multiplyFloats(into, rows, input.values)
    done += count
  }
  return { y, squares }
}

/** As a backend computes; `epsilon` is that of the norm. */
export interface Numerics {
  readonly kind: BackendKind
  readonly epsilon: number
}

/** More than these are never looked at: each costs up to as much as the check. */
const mostCloseCalls = 8

/** The input as it is, and with each value that is a close call rounded the other way. */
function* roundings(input: Input): Generator<Input> {
  yield input
  if (input.kind === 'floats') return
  for (const index of closeCalls(input.rounded).slice(0, mostCloseCalls)) {
    yield { kind: 'codes', rounded: turnedOver(input.rounded, index) }
  }
}

const partialOf = (half: HeldHalf, second: Input): Partial => {
  const { y: values, squares } = multiply(half, 'down', second)
  return { values, terms: Math.sqrt(squares) }
}

/**
 * What the rank should have sent, and then what else it may honestly have: one value before either product that is a
 * close call, rounded the other way. One before the first product moves all that follows by half a percent, in one
 * check of fifty.
 * @param x f32 [hidden], the residual before the half
 */
export function* recompute(half: HeldHalf, x: Float32Array, { kind, epsilon }: Numerics): Generator<Partial> {
  const { activation } = layerSpec(half.request.spec, half.request.layer).feedForward
  for (const first of roundings(inputOf(half, 'gateUp', normed(x, half.norm, epsilon), kind))) {
    const { y: gateUp } = multiply(half, 'gateUp', first)
    for (const second of roundings(inputOf(half, 'down', activated(gateUp, activation), kind)))
      yield partialOf(half, second)
  }
}
