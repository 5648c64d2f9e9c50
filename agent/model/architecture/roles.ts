/** Which canonical tensors a spec has, and their sizes: follows from the spec alone. See `tensor-roles.ts`. */
import type {
  AttentionSpec,
  DeltaSpec,
  ExpertsSpec,
  FeedForwardSpec,
  LatentAttentionSpec,
  LayerSpec,
  ModelSpec,
} from './model-spec.ts'

/** [rows, columns]; a vector has one column. */
export type RoleDims = readonly [number, number]
/** Parts of a layer by their names behind `layers.N.`. */
export type Parts = Readonly<Record<string, RoleDims>>

export interface Role extends PartOfLayer {
  /** `embedding`, `layers.3.attention.q`, ... */
  readonly role: string
  readonly rows: number
  readonly columns: number
}

interface PartOfLayer {
  /** Undefined for those of the whole model. */
  readonly layer: number | undefined
  /** Name without the layer. */
  readonly part: string
  /** All parts of the same layer. */
  readonly siblings: Parts
}

const when = (condition: unknown, parts: Parts): Parts => (condition ? parts : {})

const attentionParts = (spec: AttentionSpec, hidden: number): Parts => {
  const q = spec.heads * spec.headDim
  const kv = spec.kvHeads * spec.headDim
  const ownKv = spec.kvFrom === undefined
  const whole = spec.qkNorm?.over === 'projection'
  const normed = spec.qkNorm?.weight === true
  return {
    'attention.q': [q, hidden],
    ...when(spec.outputGate, { 'attention.gate': [q, hidden] }),
    ...when(ownKv, { 'attention.k': [kv, hidden] }),
    ...when(ownKv && !spec.keyIsValue, { 'attention.v': [kv, hidden] }),
    'attention.o': [hidden, q],
    ...when(spec.bias.qkv, { 'attention.q.bias': [q, 1], 'attention.k.bias': [kv, 1], 'attention.v.bias': [kv, 1] }),
    ...when(spec.bias.o, { 'attention.o.bias': [hidden, 1] }),
    ...when(normed, { 'attention.qNorm': [whole ? q : spec.headDim, 1] }),
    ...when(normed && ownKv, { 'attention.kNorm': [whole ? kv : spec.headDim, 1] }),
    ...when(spec.sinks, { 'attention.sinks': [spec.heads, 1] }),
  }
}

const latentParts = (spec: LatentAttentionSpec, hidden: number): Parts => {
  const { heads, queryRank, kvRank, nopeDim, ropeDim, valueDim } = spec
  const q = heads * (nopeDim + ropeDim)
  return {
    ...(queryRank === undefined
      ? { 'mla.q': [q, hidden] }
      : { 'mla.qa': [queryRank, hidden], 'mla.qaNorm': [queryRank, 1], 'mla.qb': [q, queryRank] }),
    'mla.kva': [kvRank + ropeDim, hidden],
    'mla.kvaNorm': [kvRank, 1],
    // as queries are multiplied with it: they go to the latent, which is never taken apart into keys
    'mla.kb': [heads * kvRank, nopeDim],
    'mla.vb': [heads * valueDim, kvRank],
    'mla.o': [hidden, heads * valueDim],
  }
}

const deltaParts = (spec: DeltaSpec, hidden: number): Parts => {
  const keys = spec.keyHeads * spec.keyDim
  const values = spec.valueHeads * spec.valueDim
  return {
    'delta.qkv': [2 * keys + values, hidden],
    'delta.z': [values, hidden],
    'delta.b': [spec.valueHeads, hidden],
    'delta.a': [spec.valueHeads, hidden],
    'delta.o': [hidden, values],
    'delta.convolution': [2 * keys + values, spec.convolution],
    'delta.dtBias': [spec.valueHeads, 1],
    'delta.decay': [spec.valueHeads, 1],
    'delta.norm': [spec.valueDim, 1],
  }
}

const expertParts = (spec: ExpertsSpec, gated: boolean, hidden: number): Parts => {
  const { count, ffn, shared } = spec
  return {
    'mlp.router': [count, hidden],
    ...when(spec.routerBias, { 'mlp.router.bias': [count, 1] }),
    ...when(spec.choiceBias, { 'mlp.router.choiceBias': [count, 1] }),
    ...when(spec.perExpertScale, { 'mlp.router.expertScale': [count, 1] }),
    ...when(gated, { 'mlp.experts.gate': [count * ffn, hidden] }),
    'mlp.experts.up': [count * ffn, hidden],
    'mlp.experts.down': [count * hidden, ffn],
    ...when(spec.bias && gated, { 'mlp.experts.gate.bias': [count * ffn, 1] }),
    ...when(spec.bias, { 'mlp.experts.up.bias': [count * ffn, 1], 'mlp.experts.down.bias': [count * hidden, 1] }),
    ...(shared && {
      ...when(gated, { 'mlp.shared.gate': [shared.ffn, hidden] }),
      'mlp.shared.up': [shared.ffn, hidden],
      'mlp.shared.down': [hidden, shared.ffn],
      ...when(shared.gated, { 'mlp.shared.scale': [1, hidden] }),
    }),
  }
}

const feedForwardParts = ({ dense, experts, gated }: FeedForwardSpec, hidden: number): Parts => ({
  ...(dense && {
    ...when(gated, { 'mlp.gate': [dense.ffn, hidden] }),
    'mlp.up': [dense.ffn, hidden],
    'mlp.down': [hidden, dense.ffn],
    ...when(gated && dense.bias, { 'mlp.gate.bias': [dense.ffn, 1] }),
    ...when(dense.bias, { 'mlp.up.bias': [dense.ffn, 1], 'mlp.down.bias': [hidden, 1] }),
  }),
  ...(experts && expertParts(experts, gated, hidden)),
})

const mixerParts = ({ mixer }: LayerSpec, hidden: number): Parts => {
  if (mixer.kind === 'attention') return attentionParts(mixer, hidden)
  return mixer.kind === 'mla' ? latentParts(mixer, hidden) : deltaParts(mixer, hidden)
}

/** Canonical tensors of one layer. */
export const layerParts = (layer: LayerSpec, hidden: number): Parts => {
  const { block } = layer
  return {
    ...when(block !== 'post', { 'attention.norm': [hidden, 1] }),
    ...mixerParts(layer, hidden),
    ...when(block === 'sandwich' || block === 'post', { 'attention.postNorm': [hidden, 1] }),
    ...when(block === 'pre' || block === 'sandwich', { 'mlp.norm': [hidden, 1] }),
    ...feedForwardParts(layer.feedForward, hidden),
    ...when(block === 'sandwich' || block === 'post', { 'mlp.postNorm': [hidden, 1] }),
  }
}

/** All canonical tensors of a model, in the order of its layers. */
export const rolesOf = (spec: ModelSpec): Role[] => {
  const { hidden, vocab } = spec
  const kinds = spec.kinds.map((kind) => layerParts(kind, hidden))
  const top: Parts = {
    embedding: [vocab, hidden],
    'head.norm': [hidden, 1],
    ...when(!spec.tied, { head: [vocab, hidden] }),
  }
  const roles = (siblings: Parts, layer: number | undefined): Role[] =>
    Object.entries(siblings).map(([part, [rows, columns]]) => ({
      role: layer === undefined ? part : `layers.${layer}.${part}`,
      layer,
      part,
      siblings,
      rows,
      columns,
    }))
  return [...roles(top, undefined), ...spec.layers.flatMap((kind, layer) => roles(kinds[kind], layer))]
}
