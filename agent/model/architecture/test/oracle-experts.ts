/** Mixtures of experts, as the spec defines them. */
import type { ExpertsSpec, FeedForwardSpec } from '../model-spec.ts'
import { activate, add, multiply, scaled, sigmoid, softmax, type Vector } from './oracle-vectors.ts'
import { mlp, type Weights } from './oracle-weights.ts'

/** Highest first; of equal values the lower index. */
const best = (values: readonly number[] | Vector, count: number): number[] =>
  Array.from(values, (value, index) => ({ value, index }))
    .toSorted((a, b) => b.value - a.value || a.index - b.index)
    .slice(0, count)
    .map(({ index }) => index)

/** Experts of groups that are not kept cannot be chosen. */
const allowed = (spec: ExpertsSpec, worth: Vector): Vector => {
  const { groups } = spec
  if (!groups) return worth
  const size = spec.count / groups.count
  const ofGroup = Array.from({ length: groups.count }, (_, group) => {
    const own = worth.slice(group * size, (group + 1) * size)
    return best(own, 2).reduce((sum, index) => sum + own[index], 0)
  })
  const kept = best(ofGroup, groups.kept)
  return worth.map((value, expert) => (kept.includes(Math.floor(expert / size)) ? value : Number.NEGATIVE_INFINITY))
}

/** The experts of one position, with their weights. */
export const route = (spec: ExpertsSpec, weights: Weights, row: Vector): { expert: number; weight: number }[] => {
  const raw = multiply(weights('mlp.router'), row)
  const logits = spec.routerBias ? add(raw, weights('mlp.router.bias').values) : raw
  const scores = spec.score === 'softmax' ? softmax(logits) : spec.score === 'sigmoid' ? logits.map(sigmoid) : logits
  const worth = spec.choiceBias ? add(scores, weights('mlp.router.choiceBias').values) : scores
  const chosen = best(allowed(spec, worth), spec.used)
  const plain = chosen.map((expert) => scores[expert])
  const shares = spec.score === 'chosenSoftmax' ? [...softmax(plain)] : plain
  const sum = spec.renormalise ? shares.reduce((total, share) => total + share, 0) + spec.renormalise.epsilon : 1
  const scaleOf = (expert: number): number =>
    spec.perExpertScale ? weights('mlp.router.expertScale').values[expert] : 1
  return chosen.map((expert, i) => ({ expert, weight: (shares[i] / sum) * spec.factor * scaleOf(expert) }))
}

/** One expert as if it were an MLP of its own: its rows of the stacks. */
const expertMlp = (ffn: FeedForwardSpec, weights: Weights, row: Vector, expert: number): Vector => {
  const spec = ffn.experts as ExpertsSpec

  const part = (name: string, x: Vector, size: number): Vector => {
    const from = expert * size
    const out = multiply(weights(`mlp.experts.${name}`), x, from, from + size)
    return spec.bias ? add(out, weights(`mlp.experts.${name}.bias`).values.slice(from, from + size)) : out
  }
  const up = part('up', row, spec.ffn)
  const gate = ffn.gated ? part('gate', row, spec.ffn) : undefined
  return part('down', activate(ffn.activation, gate, up), row.length)
}

export const experts = (ffn: FeedForwardSpec, spec: ExpertsSpec, weights: Weights, row: Vector): Vector => {
  const parts = route(spec, weights, row).map(({ expert, weight }) =>
    spec.weightOnInput
      ? expertMlp(ffn, weights, scaled(row, weight), expert)
      : scaled(expertMlp(ffn, weights, row, expert), weight),
  )
  if (spec.shared) {
    const gate = spec.shared.gated ? sigmoid(multiply(weights('mlp.shared.scale'), row)[0]) : 1
    parts.push(scaled(mlp(ffn, weights, row, 'mlp.shared'), gate))
  }
  return parts.reduce(add)
}
