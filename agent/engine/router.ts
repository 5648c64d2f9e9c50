/**
 * Which experts each row goes through. All ranks must choose the same ones, and kernels of different processors add up
 * in different orders: so the choice is made in JavaScript, in one order, from the residual that is the same on all.
 */
import { layerSpec, type ExpertsSpec, type ModelSpec } from '../model/architecture/model-spec.ts'
import type { ShardFile } from '../model/shard-cache.ts'
import { normRow } from './norms.ts'
import { type PlainTensors, withPlainTensors } from './plain-tensors.ts'

export interface RouterWeights {
  /** Absent where the half has no norm before it. */
  readonly norm: Float32Array | undefined
  /** f32 [experts, hidden] */
  readonly matrix: Float32Array
  readonly bias: Float32Array | undefined
  readonly choiceBias: Float32Array | undefined
  readonly expertScale: Float32Array | undefined
}

/** Indices of the largest values, largest first; of equal ones the lower index comes first. */
const largest = (values: Float64Array, count: number): number[] => {
  const chosen: number[] = []
  for (let index = 0; index < values.length; index++) {
    if (values[index] === -Infinity) continue
    let at = chosen.length
    while (at > 0 && values[index] > values[chosen[at - 1]]) at--
    if (at >= count) continue
    chosen.splice(at, 0, index)
    if (chosen.length > count) chosen.pop()
  }
  return chosen
}

/** Leaves the experts of the best groups; a group is worth its two best experts. */
const withinGroups = (values: Float64Array, { count, kept }: NonNullable<ExpertsSpec['groups']>): Float64Array => {
  const size = values.length / count
  const worth = Float64Array.from({ length: count }, (_, group) => {
    const own = values.subarray(group * size, (group + 1) * size)
    return largest(own, 2).reduce((sum, index) => sum + own[index], 0)
  })
  const best = new Set(largest(worth, kept))
  return values.map((value, index) => (best.has(Math.floor(index / size)) ? value : -Infinity))
}

/** float64: the scores that weights are made of. */
const scoresOf = (logits: Float64Array, score: ExpertsSpec['score']): Float64Array => {
  if (score === 'sigmoid') return logits.map((logit) => 1 / (1 + Math.exp(-logit)))
  if (score === 'chosenSoftmax') return logits
  const top = logits.reduce((a, b) => Math.max(a, b), -Infinity)
  const powers = logits.map((logit) => Math.exp(logit - top))
  const sum = powers.reduce((a, b) => a + b, 0)
  return powers.map((power) => power / sum)
}

/** Weights of the chosen experts, in their order. */
const weightsOf = (
  experts: ExpertsSpec,
  { expertScale }: Pick<RouterWeights, 'expertScale'>,
  scores: Float64Array,
  chosen: readonly number[],
): number[] => {
  let weights = chosen.map((expert) => scores[expert])
  if (experts.score === 'chosenSoftmax') {
    const top = Math.max(...weights)
    const powers = weights.map((logit) => Math.exp(logit - top))
    const sum = powers.reduce((a, b) => a + b, 0)
    weights = powers.map((power) => power / sum)
  }
  if (experts.renormalise) {
    const sum = weights.reduce((a, b) => a + b, 0) + experts.renormalise.epsilon
    weights = weights.map((weight) => weight / sum)
  }
  return weights.map((weight, index) => weight * experts.factor * (expertScale?.[chosen[index]] ?? 1))
}

/** Chosen experts of one row, best first, and the weight of each. @param logits of the router, float64 [experts] */
export const chooseExperts = (
  experts: ExpertsSpec,
  { choiceBias, expertScale }: Pick<RouterWeights, 'choiceBias' | 'expertScale'>,
  logits: Float64Array,
): { readonly ids: readonly number[]; readonly weights: readonly number[] } => {
  const scores = scoresOf(logits, experts.score)
  const biased = choiceBias ? scores.map((score, expert) => score + choiceBias[expert]) : scores
  const ids = largest(experts.groups ? withinGroups(biased, experts.groups) : biased, experts.used)
  return { ids, weights: weightsOf(experts, { expertScale }, scores, ids) }
}

/** float64 [experts] = matrix times x, each sum in the order of the columns, four at once. */
const multiply = (matrix: Float32Array, x: Float32Array, into: Float64Array): void => {
  const columns = x.length
  const whole = columns - (columns % 4)
  for (let row = 0, at = 0; row < into.length; row++) {
    let [a, b, c, d] = [0, 0, 0, 0]
    for (let column = 0; column < whole; column += 4, at += 4) {
      a += matrix[at] * x[column]
      b += matrix[at + 1] * x[column + 1]
      c += matrix[at + 2] * x[column + 2]
      d += matrix[at + 3] * x[column + 3]
    }
    for (let column = whole; column < columns; column++, at++) a += matrix[at] * x[column]
    into[row] = a + b + (c + d)
  }
}

/** The router of one layer. */
export class Router {
  readonly experts: ExpertsSpec
  readonly #norm: ModelSpec['norm']
  readonly #weights: RouterWeights
  readonly #normed: Float32Array
  readonly #logits: Float64Array

  constructor(spec: ModelSpec, experts: ExpertsSpec, weights: RouterWeights) {
    this.experts = experts
    this.#norm = spec.norm
    this.#weights = weights
    this.#normed = new Float32Array(spec.hidden)
    this.#logits = new Float64Array(experts.count)
  }

  /**
   * Chooses for each row of the residual.
   * @param residual f32 [rows, hidden], before the norm of the half
   * @param ids i32 [rows, used]. @param factors f32 [rows, used]
   */
  route(residual: Float32Array, ids: Int32Array, factors: Float32Array): void {
    const { norm, matrix, bias } = this.#weights
    const { length: hidden } = this.#normed
    const { used } = this.experts
    for (let row = 0; row * hidden < residual.length; row++) {
      const x = residual.subarray(row * hidden, (row + 1) * hidden)
      if (norm) normRow(this.#norm, norm, x, this.#normed)
      multiply(matrix, norm ? this.#normed : x, this.#logits)
      if (bias) for (let expert = 0; expert < bias.length; expert++) this.#logits[expert] += bias[expert]
      const { ids: chosen, weights } = chooseExperts(this.experts, this.#weights, this.#logits)
      ids.set(chosen, row * used)
      factors.set(weights, row * used)
    }
  }
}

const readRouter = (spec: ModelSpec, plain: PlainTensors, layer: number): RouterWeights => {
  const name = `layers.${layer}.mlp.router`
  const { block } = layerSpec(spec, layer)
  const optional = (part: string): Float32Array | undefined =>
    plain.has(`${name}.${part}`) ? plain.read(`${name}.${part}`) : undefined
  const normName = `layers.${layer}.${block === 'parallel' ? 'attention' : 'mlp'}.norm`
  return {
    norm: block === 'post' ? undefined : plain.read(normName),
    matrix: plain.read(name),
    bias: optional('bias'),
    choiceBias: optional('choiceBias'),
    expertScale: optional('expertScale'),
  }
}

/** By layer; those without experts, or of whose experts this rank holds nothing, have none. @throws MeshError `shardCorrupt` */
export const openRouters = (spec: ModelSpec, shard: ShardFile): (Router | undefined)[] =>
  withPlainTensors(shard, (plain) =>
    spec.layers.map((_, layer) => {
      const { experts } = layerSpec(spec, layer).feedForward
      if (!experts || !plain.has(`layers.${layer}.mlp.router`)) return undefined
      return new Router(spec, experts, readRouter(spec, plain, layer))
    }),
  )
