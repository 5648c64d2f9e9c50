/** Canonical tensors as matrices in float64, and what is done with them everywhere. */
import type { FeedForwardSpec } from '../model-spec.ts'
import type { RoleTensor } from '../tensor-roles.ts'
import { activate, add, type Matrix, multiply, type Vector } from './oracle-vectors.ts'

/** Tensors of one layer, or of the model, by the rest of their role. */
export interface Weights {
  (part: string): Matrix
  has(part: string): boolean
}

export const weightsOf = (roles: ReadonlyMap<string, RoleTensor>, prefix = ''): Weights => {
  const read = new Map<string, Matrix>()
  const of = (part: string): Matrix => {
    const tensor = roles.get(`${prefix}${part}`)
    if (!tensor) throw new Error(`no tensor ${prefix}${part}`)
    const matrix = read.get(part) ?? {
      rows: tensor.rows,
      columns: tensor.columns,
      values: Float64Array.from(tensor.readRows(0, tensor.rows)),
    }
    read.set(part, matrix)
    return matrix
  }
  return Object.assign(of, { has: (part: string) => roles.has(`${prefix}${part}`) })
}

/** Rows of all positions through a matrix, and its bias where the spec has one. */
export const project = (rows: readonly Vector[], weights: Weights, part: string): Vector[] =>
  rows.map((row) => {
    const out = multiply(weights(part), row)
    return weights.has(`${part}.bias`) ? add(out, weights(`${part}.bias`).values) : out
  })

/** down(activation(gate x) * up x), or without a gate, of the matrices behind `at`. */
export const mlp = ({ activation, gated }: FeedForwardSpec, weights: Weights, row: Vector, at: string): Vector => {
  const [up] = project([row], weights, `${at}.up`)
  const gate = gated ? project([row], weights, `${at}.gate`)[0] : undefined
  return project([activate(activation, gate, up)], weights, `${at}.down`)[0]
}
