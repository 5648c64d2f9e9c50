/** Operations beside plain products that the engine computes with, each on known numbers, and what they give. */
import type { Ggml, Pointer } from './library.ts'
import { types } from './library.ts'

/** Small numbers in a fixed order. */
export const pattern = (length: number, period: number, scale = 1): Float32Array =>
  Float32Array.from({ length }, (_, i) => (((i * 7 + (i % 5) * 3) % period) - (period - 1) / 2) * scale)

export interface TestTensor {
  readonly type: keyof typeof types
  /** The first is contiguous. */
  readonly dims: readonly number[]
  readonly values: Float32Array | Float16Array | Int32Array
}

export interface TestedOperation {
  readonly name: string
  readonly inputs: readonly TestTensor[]
  build(ggml: Ggml, context: Pointer, inputs: readonly Pointer[]): Pointer
  readonly want: readonly number[]
}

const floats = (dims: readonly number[], values: Float32Array): TestTensor => ({ type: 'f32', dims, values })

const [columns, rows] = [64, 3]
const x = pattern(columns * rows, 13, 0.4)
const y = pattern(columns * rows, 11, 0.5)
const both = [floats([columns, rows], x), floats([columns, rows], y)]

const sigmoid = (value: number): number => 1 / (1 + Math.exp(-value))
const { alpha, limit } = { alpha: 1.702, limit: 1.5 }

const unary = (name: 'silu' | 'sigmoid' | 'tanh' | 'relu' | 'sqr', of: (value: number) => number): TestedOperation => ({
  name,
  inputs: [both[0]],
  build: (ggml, context, [a]) => ggml[name](context, a),
  want: Array.from(x, of),
})

const activations: readonly TestedOperation[] = [
  unary('silu', (value) => value * sigmoid(value)),
  unary('sigmoid', sigmoid),
  unary('tanh', Math.tanh),
  unary('relu', (value) => Math.max(0, value)),
  unary('sqr', (value) => value ** 2),
  {
    name: 'a GLU with silu',
    inputs: both,
    build: (ggml, context, [gate, up]) => ggml.swiglu_split(context, gate, up),
    want: Array.from(x, (gate, i) => gate * sigmoid(gate) * y[i]),
  },
  {
    name: 'a clamped GLU',
    inputs: both,
    build: (ggml, context, [gate, up]) => ggml.swiglu_oai(context, gate, up, alpha, limit),
    want: Array.from(x, (value, i) => {
      const gate = Math.min(value, limit)
      return gate * sigmoid(alpha * gate) * (Math.min(limit, Math.max(-limit, y[i])) + 1)
    }),
  },
]

const epsilon = 1e-5
const shifted = x.map((value) => value + 1.3)
const normOf = (name: 'rms_norm' | 'norm'): TestedOperation => ({
  name: name === 'norm' ? 'a norm with a mean' : 'a norm',
  inputs: [floats([columns, rows], shifted)],
  build: (ggml, context, [a]) => ggml[name](context, a, epsilon),
  want: Array.from({ length: rows }, (_, row) => {
    const own = shifted.subarray(row * columns, (row + 1) * columns)
    const mean = name === 'norm' ? own.reduce((sum, value) => sum + value, 0) / columns : 0
    const squares = own.reduce((sum, value) => sum + (value - mean) ** 2, 0)
    return Array.from(own, (value) => (value - mean) / Math.sqrt(squares / columns + epsilon))
  }).flat(),
})

const [heads, theta] = [2, 10_000]
const divisors = Float32Array.from({ length: columns / 2 }, (_, i) => 1 + i / 9)
const positions = Int32Array.from([0, 5, 77])
const turned = pattern(columns * heads * rows, 17, 0.3)
/** Pairs (i, i + d / 2), or (2 i, 2 i + 1). */
const rotation = (mode: 0 | 2): TestedOperation => ({
  name: mode === 2 ? 'a rotation of halves' : 'a rotation of neighbours',
  inputs: [
    floats([columns, heads, rows], turned),
    { type: 'i32', dims: [rows], values: positions },
    floats([columns / 2], divisors),
  ],
  build: (ggml, context, [a, at, factors]) =>
    ggml.rope_ext(context, a, at, factors, columns, mode, 0, theta, 1, 0, 1, 32, 1),
  want: Array.from(turned, (_, index) => {
    const [inHead, start] = [index % columns, index - (index % columns)]
    const half = columns / 2
    const pair = mode === 2 ? inHead % half : inHead >> 1
    const [first, second] = mode === 2 ? [pair, pair + half] : [2 * pair, 2 * pair + 1]
    const position = positions[Math.floor(index / (columns * heads))]
    const angle = (position * theta ** ((-2 * pair) / columns)) / divisors[pair]
    const [a, b] = [turned[start + first], turned[start + second]]
    return inHead === first ? a * Math.cos(angle) - b * Math.sin(angle) : a * Math.sin(angle) + b * Math.cos(angle)
  }),
})

const [length, softcap, scale] = [32, 2, 0.6]
const queries = pattern(columns * rows * heads, 19, 0.11)
const keys = Float16Array.from(pattern(columns * length, 23, 0.1))
const values = Float16Array.from(pattern(columns * length, 29, 0.2))
const sinks = Float32Array.from([1.5, -0.5])
/** Row r sees all keys but the last 4 r. */
const mask = Float16Array.from({ length: length * rows }, (_, i) =>
  i % length < length - 4 * Math.floor(i / length) ? 0 : -Infinity,
)

/** Of one head for one row. */
const attended = (row: number, head: number): number[] => {
  const query = queries.subarray((head * rows + row) * columns, (head * rows + row + 1) * columns)
  const powers = Array.from({ length: length - 4 * row }, (_, key) => {
    const dot = query.reduce((sum, value, i) => sum + value * keys[key * columns + i], 0)
    return Math.exp(softcap * Math.tanh((dot * scale) / softcap))
  })
  const sum = powers.reduce((a, b) => a + b, Math.exp(sinks[head]))
  return Array.from(
    { length: columns },
    (_, i) => powers.reduce((total, power, key) => total + power * values[key * columns + i], 0) / sum,
  )
}

/** Two heads of queries over one of keys, some keys hidden, with sinks and a soft cap. */
const attention: TestedOperation = {
  name: 'attention with sinks and a soft cap',
  inputs: [
    floats([columns, rows, heads], queries),
    { type: 'f16', dims: [columns, length, 1], values: keys },
    { type: 'f16', dims: [columns, length, 1], values },
    { type: 'f16', dims: [length, rows], values: mask },
    floats([heads], sinks),
  ],
  build: (ggml, context, [q, k, v, hidden, own]) => {
    const out = ggml.flash_attn_ext(context, q, k, v, hidden, scale, 0, softcap)
    ggml.flash_attn_ext_add_sinks(out, own)
    return out
  },
  want: Array.from({ length: rows * heads }, (_, i) => attended(Math.floor(i / heads), i % heads)).flat(),
}

const ids = Int32Array.from([2, 0, 1])
const stack = pattern(columns * 5 * rows, 31, 0.2)
const biases = pattern(5 * rows, 7, 0.3)
const chosen: TestTensor = { type: 'i32', dims: [1, rows], values: ids }
/** One expert of three for each row. */
const experts: readonly TestedOperation[] = [
  {
    name: 'a product with chosen experts',
    inputs: [floats([columns, 5, 3], stack), floats([columns, 1, rows], x), chosen],
    build: (ggml, context, [weights, input, which]) => ggml.mul_mat_id(context, weights, input, which),
    want: Array.from(ids, (expert, row) =>
      Array.from({ length: 5 }, (_, out) => {
        const from = (expert * 5 + out) * columns
        const own = x.subarray(row * columns, (row + 1) * columns)
        return own.reduce((sum, value, i) => sum + value * stack[from + i], 0)
      }),
    ).flat(),
  },
  {
    name: 'biases of chosen experts',
    inputs: [floats([5, 1, rows], stack.subarray(0, 5 * rows)), floats([5, 3], biases), chosen],
    build: (ggml, context, [a, bias, which]) => ggml.add_id(context, a, bias, which),
    want: Array.from({ length: 5 * rows }, (_, i) => stack[i] + biases[ids[Math.floor(i / 5)] * 5 + (i % 5)]),
  },
]

export const testedOperations: readonly TestedOperation[] = [
  ...activations,
  normOf('rms_norm'),
  normOf('norm'),
  rotation(2),
  rotation(0),
  attention,
  ...experts,
]
