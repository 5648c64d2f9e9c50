/** The gated delta rule, as the spec defines it: a state [keyDim, valueDim] for each value head. */
import type { DeltaSpec } from '../model-spec.ts'
import type { Place } from './oracle-attention.ts'
import { dot, rmsNorm, scaled, sigmoid, silu, type Vector } from './oracle-vectors.ts'
import { project, type Weights } from './oracle-weights.ts'

/** Causal convolution of each channel over the positions, and silu. */
const convolve = (rows: readonly Vector[], weights: Weights, taps: number): Vector[] => {
  const { values } = weights('delta.convolution')
  return rows.map((row, position) =>
    row.map((_, channel) => {
      let sum = 0
      for (let tap = 0; tap < taps; tap++) {
        const before = rows[position - (taps - 1 - tap)]
        if (before) sum += values[channel * taps + tap] * before[channel]
      }
      return silu(sum)
    }),
  )
}

const unit = (x: Vector): Vector => scaled(x, 1 / Math.sqrt(dot(x, x) + 1e-6))

const softplus = (x: number): number => (x > 30 ? x : Math.log1p(Math.exp(x)))

interface Step {
  readonly query: Vector
  readonly key: Vector
  readonly value: Vector
  readonly beta: number
  /** Logarithm of what is kept of the state. */
  readonly decay: number
}

/** One position of one value head; changes the state. */
const advance = (state: Vector[], { query, key, value, beta, decay }: Step): Vector => {
  const kept = Math.exp(decay)
  for (const row of state) for (let j = 0; j < row.length; j++) row[j] *= kept
  const told = value.map((want, j) => beta * (want - key.reduce((sum, k, i) => sum + k * state[i][j], 0)))
  for (const [i, row] of state.entries()) for (let j = 0; j < row.length; j++) row[j] += key[i] * told[j]
  return value.map((_, j) => query.reduce((sum, q, i) => sum + q * state[i][j], 0))
}

export const deltaNet = ({ spec, weights, epsilon }: Place<DeltaSpec>, rows: readonly Vector[]): Vector[] => {
  const { keyHeads, valueHeads, keyDim, valueDim } = spec
  const mixed = convolve(project(rows, weights, 'delta.qkv'), weights, spec.convolution)
  const [gates, bs, as] = ['z', 'b', 'a'].map((part) => project(rows, weights, `delta.${part}`))
  const [decay, dtBias] = ['decay', 'dtBias'].map((part) => weights(`delta.${part}`).values)
  const keys = keyHeads * keyDim
  const states = Array.from({ length: valueHeads }, () =>
    Array.from({ length: keyDim }, (): Vector => new Float64Array(valueDim)),
  )
  const out = mixed.map((row, position) => {
    const heads = states.map((state, head) => {
      const from = spec.valueOrder === 'tiled' ? head % keyHeads : Math.floor((head * keyHeads) / valueHeads)
      const result = advance(state, {
        query: scaled(unit(row.slice(from * keyDim, (from + 1) * keyDim)), keyDim ** -0.5),
        key: unit(row.slice(keys + from * keyDim, keys + (from + 1) * keyDim)),
        value: row.slice(2 * keys + head * valueDim, 2 * keys + (head + 1) * valueDim),
        beta: sigmoid(bs[position][head]),
        decay: decay[head] * softplus(as[position][head] + dtBias[head]),
      })
      const gate = gates[position].slice(head * valueDim, (head + 1) * valueDim)
      const open = spec.gate === 'silu' ? silu : sigmoid
      return rmsNorm(result, epsilon, weights('delta.norm').values).map((value, j) => value * open(gate[j]))
    })
    return Float64Array.from(heads.flatMap((head) => [...head]))
  })
  return project(out, weights, 'delta.o')
}
