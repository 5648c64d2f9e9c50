/**
 * The definition of every part of a `ModelSpec`, in float64 and without any cleverness: what engines are compared with.
 * It shares nothing with them but the spec and the canonical tensors.
 */
import { type FeedForwardSpec, layerSpec, type ModelSpec } from '../model-spec.ts'
import type { RoleTensor } from '../tensor-roles.ts'
import { attention, type Keys, latentAttention } from './oracle-attention.ts'
import { deltaNet } from './oracle-delta.ts'
import { experts } from './oracle-experts.ts'
import { add, layerNorm, multiply, rmsNorm, scaled, type Vector } from './oracle-vectors.ts'
import { mlp, type Weights, weightsOf } from './oracle-weights.ts'

/** One forward pass over all positions of one sequence. */
interface Pass {
  readonly spec: ModelSpec
  readonly roles: ReadonlyMap<string, RoleTensor>
  readonly planned: number
  /** Keys and values of layers, for those that use them again. */
  readonly kept: Map<number, Keys>
}

const mix = (pass: Pass, weights: Weights, rows: readonly Vector[], layer: number): Vector[] => {
  const { mixer } = layerSpec(pass.spec, layer)
  const place = { weights, epsilon: pass.spec.norm.epsilon, planned: pass.planned }
  if (mixer.kind === 'mla') return latentAttention({ ...place, spec: mixer }, rows)
  if (mixer.kind === 'delta') return deltaNet({ ...place, spec: mixer }, rows)
  const shared = mixer.kvFrom === undefined ? undefined : pass.kept.get(mixer.kvFrom)
  const { out, own } = attention({ ...place, spec: mixer }, rows, shared)
  pass.kept.set(layer, own)
  return out
}

const feedForward = (spec: FeedForwardSpec, weights: Weights, row: Vector): Vector => {
  const parts = [
    ...(spec.dense ? [mlp(spec, weights, row, 'mlp')] : []),
    ...(spec.experts ? [experts(spec, spec.experts, weights, row)] : []),
  ]
  return parts.reduce(add)
}

const runLayer = (pass: Pass, rows: readonly Vector[], layer: number): Vector[] => {
  const { block, feedForward: ffn, branchScale = 1 } = layerSpec(pass.spec, layer)
  const weights = weightsOf(pass.roles, `layers.${layer}.`)
  const { kind, epsilon } = pass.spec.norm
  const norm = (list: readonly Vector[], part: string): Vector[] =>
    list.map((row) => (kind === 'rms' ? rmsNorm : layerNorm)(row, epsilon, weights(part).values))
  const before = (list: readonly Vector[], part: string) => (block === 'post' ? [...list] : norm(list, `${part}.norm`))
  const behind = (list: Vector[], part: string) =>
    block === 'sandwich' || block === 'post' ? norm(list, `${part}.postNorm`) : list
  const plus = (list: readonly Vector[], branch: readonly Vector[]) =>
    list.map((row, i) => add(row, scaled(branch[i], branchScale)))
  const input = before(rows, 'attention')
  const mixed = plus(rows, behind(mix(pass, weights, input, layer), 'attention'))
  // a parallel block has one norm, and both halves read it
  const second = block === 'parallel' ? input : before(mixed, 'mlp')
  return plus(
    mixed,
    behind(
      second.map((row) => feedForward(ffn, weights, row)),
      'mlp',
    ),
  )
}

/**
 * Logits of every position of one sequence.
 * @param planned most positions that the sequence may reach; decides between two lists of rope frequencies
 * @returns [tokens.length][vocab]
 */
export const oracleLogits = (
  spec: ModelSpec,
  roles: ReadonlyMap<string, RoleTensor>,
  tokens: readonly number[],
  planned = tokens.length,
): Vector[] => {
  const weights = weightsOf(roles)
  const embedding = weights('embedding')
  let rows: Vector[] = tokens.map((token) =>
    scaled(embedding.values.slice(token * spec.hidden, (token + 1) * spec.hidden), spec.embeddingScale),
  )
  const pass: Pass = { spec, roles, planned, kept: new Map() }
  for (const layer of spec.layers.keys()) rows = runLayer(pass, rows, layer)
  const { kind, epsilon } = spec.norm
  const { scale, softcap } = spec.logits
  return rows.map((row) => {
    const last = (kind === 'rms' ? rmsNorm : layerNorm)(row, epsilon, weights('head.norm').values)
    return multiply(weights(spec.tied ? 'embedding' : 'head'), last).map((logit) =>
      softcap === undefined ? logit * scale : softcap * Math.tanh((logit * scale) / softcap),
    )
  })
}
