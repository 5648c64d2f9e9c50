/** Any spec in plain float64, unsharded and without a cache: the oracle of the tests of parts. */
import {
  type Activation,
  type AttentionSpec,
  type ExpertsSpec,
  type FeedForwardSpec,
  layerSpec,
  type ModelSpec,
  type RopeSpec,
} from '../../model/architecture/model-spec.ts'
import type { Roles } from '../../model/architecture/tensor-roles.ts'

type Row = Float64Array<ArrayBuffer>

export interface Oracle {
  readonly spec: ModelSpec
  readonly roles: Roles
}

const all = ({ roles }: Oracle, role: string): Float32Array => {
  const tensor = roles.role(role)
  return tensor.readRows(0, tensor.rows)
}

/** A matrix times x, or some of its rows. */
const times = (
  oracle: Oracle,
  role: string,
  x: Row,
  { first, count }: { first: number; count?: number } = { first: 0 },
): Row => {
  const { rows, columns } = oracle.roles.role(role)
  const data = all(oracle, role)
  return Float64Array.from({ length: count ?? rows }, (_, row) => {
    let sum = 0
    for (let i = 0; i < columns; i++) sum += data[(first + row) * columns + i] * x[i]
    return sum
  })
}

const plus = (x: Row, y: ArrayLike<number>, first = 0): Row => x.map((value, i) => value + y[first + i])

const norm = (oracle: Oracle, role: string | undefined, x: Row): Row => {
  const { kind, epsilon } = oracle.spec.norm
  const mean = kind === 'layer' ? x.reduce((a, b) => a + b, 0) / x.length : 0
  const scale = 1 / Math.sqrt(x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length + epsilon)
  const weight = role === undefined ? undefined : all(oracle, role)
  return x.map((value, i) => (value - mean) * scale * (weight?.[i] ?? 1))
}

/** RMS norm of a head, whatever norm the blocks have. */
const headNorm = (oracle: Oracle, role: string | undefined, x: Row): Row =>
  norm({ ...oracle, spec: { ...oracle.spec, norm: { ...oracle.spec.norm, kind: 'rms' } } }, role, x)

const rotate = (head: Row, position: number, { frequencies, span, pairing, magnitude, at }: RopeSpec): Row => {
  const out = head.slice()
  const first = at === 'tail' ? head.length - span : 0
  for (let i = 0; i < span / 2; i++) {
    const angle = position * (frequencies[i] ?? 0)
    const [p, q] = pairing === 'half' ? [first + i, first + i + span / 2] : [first + 2 * i, first + 2 * i + 1]
    const [cos, sin] = [magnitude * Math.cos(angle), magnitude * Math.sin(angle)]
    out[p] = head[p] * cos - head[q] * sin
    out[q] = head[q] * cos + head[p] * sin
  }
  return out
}

const sees = ({ mask }: AttentionSpec, query: number, key: number): boolean => {
  if (key > query) return false
  if (mask.kind === 'window') return query - key < mask.window
  return mask.kind === 'full' || Math.floor(query / mask.chunk) === Math.floor(key / mask.chunk)
}

/** Output of one head at one position. */
const attendHead = (
  mixer: AttentionSpec,
  { query, keys, values, sink }: { query: Row; keys: readonly Row[]; values: readonly Row[]; sink?: number },
  position: number,
): Row => {
  const scores = keys.map((key, at) => {
    if (!sees(mixer, position, at)) return -Infinity
    const score = mixer.scale * key.reduce((sum, value, i) => sum + value * query[i], 0)
    return mixer.softcap === undefined ? score : mixer.softcap * Math.tanh(score / mixer.softcap)
  })
  const top = Math.max(...scores, sink ?? -Infinity)
  const powers = scores.map((score) => Math.exp(score - top))
  const total = powers.reduce((a, b) => a + b, sink === undefined ? 0 : Math.exp(sink - top))
  const out = new Float64Array(query.length)
  for (const [at, value] of values.entries())
    for (let i = 0; i < out.length; i++) out[i] += (powers[at] / total) * value[i]
  return out
}

/** Keys and values of each layer, [position][head]. */
type Caches = Map<number, { readonly k: Row[][]; readonly v: Row[][] }>

const headsIn = (x: Row, headDim: number): Row[] =>
  Array.from({ length: x.length / headDim }, (_, i) => x.slice(i * headDim, (i + 1) * headDim))

const attention = (
  oracle: Oracle,
  mixer: AttentionSpec,
  layer: number,
  { xs, caches }: { readonly xs: readonly Row[]; readonly caches: Caches },
): Row[] => {
  const name = `layers.${layer}.attention`
  const project = (letter: string): Row[][] =>
    xs.map((x) => {
      const y = times(oracle, `${name}.${letter}`, x)
      return headsIn(mixer.bias.qkv ? plus(y, all(oracle, `${name}.${letter}.bias`)) : y, mixer.headDim)
    })
  const turn = (letter: 'q' | 'k', rows: Row[][]): Row[][] =>
    rows.map((heads, position) =>
      heads.map((head) => {
        const role = mixer.qkNorm?.weight ? `${name}.${letter}Norm` : undefined
        const before = mixer.qkNorm?.when === 'beforeRope' ? headNorm(oracle, role, head) : head
        const turned = mixer.rope ? rotate(before, position, mixer.rope) : before
        return mixer.qkNorm?.when === 'afterRope' ? headNorm(oracle, role, turned) : turned
      }),
    )
  const q = turn('q', project('q'))
  if (mixer.kvFrom === undefined) {
    const raw = project('k')
    const values = mixer.keyIsValue ? raw : project('v')
    caches.set(layer, {
      k: turn('k', raw),
      v: mixer.valueNorm ? values.map((heads) => heads.map((head) => headNorm(oracle, undefined, head))) : values,
    })
  }
  const { k, v } = caches.get(mixer.kvFrom ?? layer) as { k: Row[][]; v: Row[][] }
  const sinks = mixer.sinks && all(oracle, `${name}.sinks`)
  return xs.map((x, position) => {
    const joined = new Float64Array(mixer.heads * mixer.headDim)
    for (let head = 0; head < mixer.heads; head++) {
      const kv = Math.floor(head / (mixer.heads / mixer.kvHeads))
      const seen = {
        query: q[position][head],
        keys: k.slice(0, position + 1).map((heads) => heads[kv]),
        values: v.slice(0, position + 1).map((heads) => heads[kv]),
        sink: sinks?.[head],
      }
      joined.set(attendHead(mixer, seen, position), head * mixer.headDim)
    }
    const gate = mixer.outputGate && times(oracle, `${name}.gate`, x)
    const gated = gate ? joined.map((value, i) => value / (1 + Math.exp(-gate[i]))) : joined
    const y = times(oracle, `${name}.o`, gated)
    return mixer.bias.o ? plus(y, all(oracle, `${name}.o.bias`)) : y
  })
}

/** Error function to 1e-13, by its series. */
const erf = (x: number): number => {
  let [term, sum] = [x, x]
  for (let n = 1; n < 200; n++) {
    term *= (-x * x) / n
    sum += term / (2 * n + 1)
  }
  return Math.abs(x) > 5 ? Math.sign(x) : (2 / Math.sqrt(Math.PI)) * sum
}

const act = (activation: Activation, gate: number | undefined, up: number): number => {
  if (typeof activation === 'object') {
    const { alpha, limit } = activation
    const limited = Math.min(gate as number, limit)
    return (limited / (1 + Math.exp(-alpha * limited))) * (Math.max(-limit, Math.min(limit, up)) + 1)
  }
  const x = gate ?? up
  const y = {
    silu: x / (1 + Math.exp(-x)),
    gelu: (x / 2) * (1 + erf(x / Math.SQRT2)),
    geluTanh: (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
    relu2: Math.max(0, x) ** 2,
  }[activation]
  return gate === undefined ? y : y * up
}

/** An MLP, or one expert of a stack. */
const mlp = (
  oracle: Oracle,
  { activation, gated }: FeedForwardSpec,
  { name, ffn, bias, expert = 0 }: { name: string; ffn: number; bias: boolean; expert?: number },
  x: Row,
): Row => {
  const { hidden } = oracle.spec
  const product = (part: string, input: Row, rows: number): Row => {
    const y = times(oracle, `${name}.${part}`, input, { first: expert * rows, count: rows })
    return bias ? plus(y, all(oracle, `${name}.${part}.bias`), expert * rows) : y
  }
  const gate = gated ? product('gate', x, ffn) : undefined
  const up = product('up', x, ffn)
  return product(
    'down',
    up.map((value, i) => act(activation, gate?.[i], value)),
    hidden,
  )
}

const best = (values: readonly number[], count: number): number[] =>
  [...values.keys()].toSorted((a, b) => values[b] - values[a] || a - b).slice(0, count)

const route = (oracle: Oracle, experts: ExpertsSpec, name: string, x: Row): [number, number][] => {
  let logits = [...times(oracle, `${name}.router`, x)]
  if (experts.routerBias) logits = logits.map((value, e) => value + all(oracle, `${name}.router.bias`)[e])
  const soft = (values: readonly number[]): number[] => {
    const top = Math.max(...values)
    const powers = values.map((value) => Math.exp(value - top))
    const sum = powers.reduce((a, b) => a + b, 0)
    return powers.map((value) => value / sum)
  }
  const scores =
    experts.score === 'sigmoid'
      ? logits.map((value) => 1 / (1 + Math.exp(-value)))
      : experts.score === 'softmax'
        ? soft(logits)
        : logits
  let ranked = experts.choiceBias
    ? scores.map((value, e) => value + all(oracle, `${name}.router.choiceBias`)[e])
    : scores
  if (experts.groups) {
    const { count, kept } = experts.groups
    const size = ranked.length / count
    const worth = Array.from({ length: count }, (_, group) => {
      const own = ranked.slice(group * size, (group + 1) * size)
      return best(own, 2).reduce((sum, e) => sum + own[e], 0)
    })
    const chosen = best(worth, kept)
    ranked = ranked.map((value, e) => (chosen.includes(Math.floor(e / size)) ? value : -Infinity))
  }
  const ids = best(ranked, experts.used)
  let weights = ids.map((e) => scores[e])
  if (experts.score === 'chosenSoftmax') weights = soft(weights)
  if (experts.renormalise) {
    const sum = weights.reduce((a, b) => a + b, 0) + experts.renormalise.epsilon
    weights = weights.map((value) => value / sum)
  }
  const scale = experts.perExpertScale && all(oracle, `${name}.router.expertScale`)
  return ids.map((e, i) => [e, weights[i] * experts.factor * (scale?.[e] ?? 1)])
}

const feedForward = (oracle: Oracle, spec: FeedForwardSpec, layer: number, x: Row): Row => {
  const name = `layers.${layer}.mlp`
  const { dense, experts } = spec
  let sum = new Float64Array(oracle.spec.hidden)
  const add = (y: Row, weight = 1): void => {
    sum = sum.map((value, i) => value + weight * y[i])
  }
  if (dense) add(mlp(oracle, spec, { name, ...dense }, x))
  if (!experts) return sum
  for (const [expert, weight] of route(oracle, experts, name, x)) {
    const { ffn, bias } = experts
    add(mlp(oracle, spec, { name: `${name}.experts`, ffn, bias, expert }, x), weight)
  }
  if (experts.shared) {
    const gate = experts.shared.gated ? times(oracle, `${name}.shared.scale`, x)[0] : Infinity
    const y = mlp(oracle, spec, { name: `${name}.shared`, ffn: experts.shared.ffn, bias: false }, x)
    add(y, 1 / (1 + Math.exp(-gate)))
  }
  return sum
}

/** Logits of every position: float64 [tokens][vocab]. */
export const oracleLogits = (oracle: Oracle, tokens: readonly number[]): Row[] => {
  const { spec } = oracle
  const { hidden, embeddingScale, logits } = spec
  const table = all(oracle, 'embedding')
  let xs = tokens.map((token) =>
    Float64Array.from({ length: hidden }, (_, i) => table[token * hidden + i] * embeddingScale),
  )
  const caches: Caches = new Map()
  for (const layer of spec.layers.keys()) {
    const { block, mixer, feedForward: ffn, branchScale = 1 } = layerSpec(spec, layer)
    if (mixer.kind !== 'attention') throw new Error(`no oracle for ${mixer.kind}`)
    const before = (half: string, x: Row): Row =>
      block === 'post' ? x : norm(oracle, `layers.${layer}.${half}.norm`, x)
    const add = (half: string, x: Row, y: Row): Row => {
      const behind = block === 'post' || block === 'sandwich' ? norm(oracle, `layers.${layer}.${half}.postNorm`, y) : y
      return x.map((value, i) => value + branchScale * behind[i])
    }
    const normed = xs.map((x) => before('attention', x))
    const attended = attention(oracle, mixer, layer, { xs: normed, caches })
    if (block === 'parallel') {
      xs = xs.map((x, i) => add('', x, plus(attended[i], feedForward(oracle, ffn, layer, normed[i]))))
      continue
    }
    xs = xs.map((x, i) => add('attention', x, attended[i]))
    xs = xs.map((x) => add('mlp', x, feedForward(oracle, ffn, layer, before('mlp', x))))
  }
  return xs.map((x) => {
    const y = times(oracle, 'head', norm(oracle, 'head.norm', x)).map((value) => value * logits.scale)
    const { softcap } = logits
    return softcap === undefined ? y : y.map((value) => softcap * Math.tanh(value / softcap))
  })
}
