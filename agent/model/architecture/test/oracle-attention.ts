/** Softmax attention and its latent form, as the spec defines them. */
import type { AttentionSpec, LatentAttentionSpec, RopeSpec } from '../model-spec.ts'
import { add, dot, layerNorm, rmsNorm, scaled, sigmoid, softmax, type Vector } from './oracle-vectors.ts'
import { project, type Weights } from './oracle-weights.ts'

/** @param planned most positions that the sequence may reach */
export const turn = (head: Vector, rope: RopeSpec, position: number, planned: number): Vector => {
  const frequencies = rope.long && planned > rope.long.beyond ? rope.long.frequencies : rope.frequencies
  const start = rope.at === 'head' ? 0 : head.length - rope.span
  const out = Float64Array.from(head)
  for (let pair = 0; pair < rope.span / 2; pair++) {
    const [a, b] =
      rope.pairing === 'half' ? [start + pair, start + pair + rope.span / 2] : [start + 2 * pair, start + 2 * pair + 1]
    const angle = position * (frequencies[pair] ?? 0)
    const [cos, sin] = [Math.cos(angle) * rope.magnitude, Math.sin(angle) * rope.magnitude]
    out[a] = head[a] * cos - head[b] * sin
    out[b] = head[a] * sin + head[b] * cos
  }
  return out
}

const splitHeads = (row: Vector, size: number): Vector[] =>
  Array.from({ length: row.length / size }, (_, head) => row.slice(head * size, (head + 1) * size))

const joinHeads = (heads: readonly Vector[]): Vector => Float64Array.from(heads.flatMap((head) => [...head]))

const sees = (mask: AttentionSpec['mask'], query: number, key: number): boolean => {
  if (key > query) return false
  if (mask.kind === 'window') return query - key < mask.window
  return mask.kind === 'full' || key >= Math.floor(query / mask.chunk) * mask.chunk
}

export interface Keys {
  /** [position][kv head] */
  readonly keys: readonly (readonly Vector[])[]
  readonly values: readonly (readonly Vector[])[]
}

/** One layer in a forward pass over all positions of one sequence. */
export interface Place<Spec> {
  readonly spec: Spec
  readonly weights: Weights
  readonly epsilon: number
  /** Most positions that the sequence may reach. */
  readonly planned: number
}

const normed = ({ spec, weights, epsilon }: Place<AttentionSpec>, row: Vector, part: string): Vector => {
  const { qkNorm } = spec
  if (!qkNorm) return row
  const one = (x: Vector): Vector => {
    const weight = qkNorm.weight ? weights(part).values : undefined
    return qkNorm.kind === 'rms' ? rmsNorm(x, epsilon, weight) : layerNorm(x, epsilon, weight)
  }
  return qkNorm.over === 'projection' ? one(row) : joinHeads(splitHeads(row, spec.headDim).map(one))
}

/** Norms and turns q or k of one position, in the order that the spec says. */
const prepared = (place: Place<AttentionSpec>, row: Vector, part: string, position: number): Vector[] => {
  const { rope, qkNorm, headDim } = place.spec
  const norm = (x: Vector): Vector => normed(place, x, part)
  const turned = (x: Vector): Vector =>
    rope ? joinHeads(splitHeads(x, headDim).map((head) => turn(head, rope, position, place.planned))) : x
  return splitHeads(qkNorm?.when === 'afterRope' ? norm(turned(row)) : turned(norm(row)), headDim)
}

const keysOf = (place: Place<AttentionSpec>, rows: readonly Vector[]): Keys => {
  const { spec, weights, epsilon } = place
  const raw = project(rows, weights, 'attention.k')
  const values = spec.keyIsValue ? raw : project(rows, weights, 'attention.v')
  return {
    keys: raw.map((row, position) => prepared(place, row, 'attention.kNorm', position)),
    values: values.map((row) =>
      splitHeads(row, spec.headDim).map((head) => (spec.valueNorm ? rmsNorm(head, epsilon) : head)),
    ),
  }
}

const temperatureAt = ({ temperature }: AttentionSpec, position: number): number =>
  temperature
    ? 1 + temperature.coefficient * Math.log(1 + Math.floor((position + temperature.offset) / temperature.floor))
    : 1

interface Head {
  readonly query: Vector
  readonly position: number
  readonly kvHead: number
  readonly sink: number | undefined
}

const attendHead = (spec: AttentionSpec, { query, position, kvHead, sink }: Head, { keys, values }: Keys): Vector => {
  const visible = keys.map((_, key) => key).filter((key) => sees(spec.mask, position, key))
  const scores = visible.map((key) => {
    const score = dot(query, keys[key][kvHead]) * spec.scale
    return spec.softcap === undefined ? score : spec.softcap * Math.tanh(score / spec.softcap)
  })
  const shares = softmax(sink === undefined ? scores : [...scores, sink])
  let out: Vector = new Float64Array(spec.headDim)
  for (const [i, key] of visible.entries()) out = add(out, scaled(values[key][kvHead], shares[i]))
  return out
}

/** @param shared keys and values of an earlier layer, where the spec says so */
export const attention = (
  place: Place<AttentionSpec>,
  rows: readonly Vector[],
  shared: Keys | undefined,
): { readonly out: Vector[]; readonly own: Keys } => {
  const { spec, weights } = place
  const own = shared ?? keysOf(place, rows)
  const gates = spec.outputGate ? project(rows, weights, 'attention.gate') : undefined
  const sinks = spec.sinks ? weights('attention.sinks').values : undefined
  const group = spec.heads / spec.kvHeads
  const joined = project(rows, weights, 'attention.q').map((row, position) => {
    const heads = prepared(place, row, 'attention.qNorm', position).map((head, index) => {
      const query = scaled(head, temperatureAt(spec, position))
      return attendHead(spec, { query, position, kvHead: Math.floor(index / group), sink: sinks?.[index] }, own)
    })
    return joinHeads(heads).map((value, i) => (gates ? value * sigmoid(gates[position][i]) : value))
  })
  return { out: project(joined, weights, 'attention.o'), own }
}

/** The plain form: keys and values of each head are made from the latent. */
export const latentAttention = (place: Place<LatentAttentionSpec>, rows: readonly Vector[]): Vector[] => {
  const { spec, weights, epsilon, planned } = place
  const { nopeDim, ropeDim, kvRank } = spec
  const latent = (part: string): Vector[] =>
    project(rows, weights, `mla.${part}`).map((row) => rmsNorm(row, epsilon, weights(`mla.${part}Norm`).values))
  const queries =
    spec.queryRank === undefined ? project(rows, weights, 'mla.q') : project(latent('qa'), weights, 'mla.qb')
  const raw = project(rows, weights, 'mla.kva')
  const latents = raw.map((row) => rmsNorm(row.slice(0, kvRank), epsilon, weights('mla.kvaNorm').values))
  const down = weights('mla.kb') // per head [kvRank, nope]
  const keyParts = latents.map((row) =>
    Array.from({ length: spec.heads }, (_, head) =>
      Float64Array.from({ length: nopeDim }, (__, i) =>
        row.reduce((sum, value, j) => sum + value * down.values[(head * kvRank + j) * nopeDim + i], 0),
      ),
    ),
  )
  const values = project(latents, weights, 'mla.vb').map((row) => splitHeads(row, spec.valueDim))
  const roped = raw.map((row, position) => turn(row.slice(kvRank), spec.rope, position, planned))
  const out = queries.map((row, position) =>
    joinHeads(
      splitHeads(row, nopeDim + ropeDim).map((query, head) => {
        const turned = turn(query.slice(nopeDim), spec.rope, position, planned)
        const scores = keyParts
          .slice(0, position + 1)
          .map((parts, key) => spec.scale * (dot(query.slice(0, nopeDim), parts[head]) + dot(turned, roped[key])))
        let sum: Vector = new Float64Array(spec.valueDim)
        for (const [key, share] of softmax(scores).entries()) sum = add(sum, scaled(values[key][head], share))
        return sum
      }),
    ),
  )
  return project(out, weights, 'mla.o')
}
