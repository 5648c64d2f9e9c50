/** What the control plane and the plan need to know of a model: its sizes, and how it is cut. */
import { copiesOf } from '../../shared/plan/shard-memory.ts'
import { blockColumns } from '../../shared/plan/shard-plan.ts'
import type { MatrixGroup, ModelPart, ModelShape } from '../../shared/schema/model.ts'
import {
  type AttentionSpec,
  type DeltaSpec,
  type LayerSpec,
  layerSpec,
  type MixerSpec,
  type ModelSpec,
} from './architecture/model-spec.ts'
import { rolesOf } from './architecture/roles.ts'
import { blockSizes, type Roles, type WeightType } from './architecture/tensor-roles.ts'
import { isReblocked, reblockedTypes } from './blocks/reblock.ts'
import { deltaCut, deltaPart } from './delta-cut.ts'
import { latentPart } from './latent-cut.ts'
import { attentionCut, type HeadedSpec, isHeaded, normsProjection, widthCut, widthsOf } from './shard-ranges.ts'

const isAttention = (mixer: MixerSpec): mixer is AttentionSpec => mixer.kind === 'attention'

/** Heads of one geometry, in the layers that have it. */
const headsPart = (spec: ModelSpec, name: string, mixers: readonly AttentionSpec[]): ModelPart => {
  const [{ heads, kvHeads, headDim }] = mixers
  const group = heads / kvHeads
  const withKeys = mixers.filter(({ kvFrom }) => kvFrom === undefined).length
  const withValues = mixers.filter(({ kvFrom, keyIsValue }) => kvFrom === undefined && !keyIsValue).length
  const gates = mixers.filter(({ outputGate }) => outputGate).length
  const copied = mixers.filter(normsProjection)
  const copiedKeys = copied.filter(({ kvFrom }) => kvFrom === undefined).length
  const rowsOf = (count: number, rows: number): MatrixGroup[] =>
    count === 0 ? [] : [{ count, cut: 'rows', rows: rows * headDim, columns: spec.hidden }]
  return {
    name,
    units: kvHeads,
    together: 1,
    matrices: [
      ...rowsOf(mixers.length - copied.length, group),
      ...rowsOf(withKeys - copiedKeys, 1),
      ...rowsOf(withValues, 1),
      ...rowsOf(gates, group),
      { count: mixers.length, cut: 'columns', rows: spec.hidden, columns: group * headDim },
    ],
    cache: 2 * withKeys * headDim,
    state: 0,
    activations: 4 * (2 * group + 2) * headDim,
    ...(copied.length > 0 && {
      copied: {
        matrices: [...rowsOf(copied.length, heads), ...rowsOf(copiedKeys, kvHeads)],
        cache: 0,
        activations: 3 * (heads + kvHeads) * headDim,
      },
    }),
  }
}

/** Layers of one geometry are all of one kind. */
const headedPart = (spec: ModelSpec, name: string, mixers: readonly HeadedSpec[]): ModelPart => {
  const [first] = mixers
  return first.kind === 'mla'
    ? latentPart(spec, name, first, mixers.length)
    : headsPart(spec, name, mixers.filter(isAttention))
}

/** Columns of all MLPs and experts of one width. */
const columnsPart = (spec: ModelSpec, name: string, width: number, layers: readonly LayerSpec[]): ModelPart => {
  const matrices: MatrixGroup[] = []
  let most = 1
  const add = (count: number, used: number, gated: boolean): void => {
    matrices.push({ count, used, cut: 'rows', rows: gated ? 2 : 1, columns: spec.hidden })
    matrices.push({ count, used, cut: 'columns', rows: spec.hidden, columns: 1 })
    most = Math.max(most, used)
  }
  const byKind = spec.kinds.map((kind) => layers.filter((layer) => layer === kind).length)
  for (const [index, count] of byKind.entries()) {
    const { gated, dense, experts } = spec.kinds[index].feedForward
    if (count === 0) continue
    if (dense?.ffn === width) add(count, count, gated)
    if (experts?.ffn === width) add(count * experts.count, count * experts.used, gated)
    if (experts?.shared?.ffn === width) add(count, count, gated)
  }
  const rowsAtOnce = Math.max(1, ...spec.kinds.map(({ feedForward }) => feedForward.experts?.used ?? 1))
  return {
    name,
    units: width,
    together: blockColumns,
    matrices,
    cache: 0,
    state: 0,
    activations: 4 * rowsAtOnce,
  }
}

/** Norms over more than one head. */
const mixerWhole = (mixer: MixerSpec): number => {
  if (mixer.kind === 'mla') return (mixer.queryRank ?? 0) + mixer.kvRank
  return mixer.kind === 'attention' && normsProjection(mixer) ? (mixer.heads + mixer.kvHeads) * mixer.headDim : 0
}

/** Delta nets of each geometry. */
const deltaParts = (spec: ModelSpec, layers: readonly LayerSpec[]): ModelPart[] => {
  const nets = layers.map(({ mixer }) => mixer).filter((mixer): mixer is DeltaSpec => mixer.kind === 'delta')
  return [...new Set(nets.map(deltaCut))].map((cut) => {
    const alike = nets.filter((mixer) => deltaCut(mixer) === cut)
    return deltaPart(spec, alike[0], alike.length)
  })
}

/** Numbers that every rank holds. */
const wholeOf = ({ hidden }: ModelSpec, layers: readonly LayerSpec[]): number =>
  layers.reduce((sum, { mixer, feedForward: { experts, dense } }) => {
    const columns = (dense?.bias ? dense.ffn : 0) + (experts?.bias ? experts.count * (2 * experts.ffn + hidden) : 0)
    return sum + (experts?.count ?? 0) * (hidden + 3) + 10 * hidden + mixerWhole(mixer) + 2 * columns
  }, hidden)

/** As a Llama is cut: one kind of attention and one MLP in all layers. */
const isPlain = (spec: ModelSpec): boolean =>
  spec.norm.kind === 'rms' &&
  spec.kinds.every(
    ({ block, mixer, feedForward: { dense, experts, gated } }) =>
      (block === 'pre' || block === 'parallel') &&
      isAttention(mixer) &&
      attentionCut(spec, mixer) === 'kvHeads' &&
      mixer.kvFrom === undefined &&
      !mixer.keyIsValue &&
      !mixer.outputGate &&
      !normsProjection(mixer) &&
      experts === undefined &&
      gated &&
      dense?.ffn === spec.kinds[0].feedForward.dense?.ffn,
  )

/** @throws Error where the first parts of a layer have no cut yet */
export const shapeOf = (spec: ModelSpec): ModelShape => {
  const layers = spec.layers.map((_, layer) => layerSpec(spec, layer))
  const mixers = layers.map(({ mixer }) => mixer).filter(isHeaded)
  const [first] = mixers
  if (!first) throw new Error('a model without attention has no shape yet')
  const widths = widthsOf(spec)
  const sizes = {
    layers: layers.length,
    hidden: spec.hidden,
    heads: first.heads,
    ...(first.kind === 'mla'
      ? { kvHeads: first.heads, headDim: first.nopeDim + first.ropeDim }
      : { kvHeads: first.kvHeads, headDim: first.headDim }),
    ffn: widths[0],
    vocab: spec.vocab,
    context: spec.context,
  }
  if (isPlain(spec)) return sizes
  const cutOf = (mixer: HeadedSpec): string => attentionCut(spec, mixer)
  return {
    ...sizes,
    parts: [
      ...[...new Set(mixers.map(cutOf))].map((cut) =>
        headedPart(
          spec,
          cut,
          mixers.filter((mixer) => cutOf(mixer) === cut),
        ),
      ),
      ...deltaParts(spec, layers),
      ...widths.map((width) => columnsPart(spec, widthCut(spec, width), width, layers)),
    ],
    whole: wholeOf(spec, layers),
  }
}

/** Columns of o and down that no cut divides. */
const unitColumns = ({ mixer }: LayerSpec, part: string): number =>
  part === 'attention.o' && isAttention(mixer) ? (mixer.heads / mixer.kvHeads) * mixer.headDim : blockColumns

/** Type that a matrix has at the most when its columns are cut anywhere between units; see `shard-types.ts`. */
const finest = (type: WeightType, columns: number): WeightType => {
  if (columns % blockSizes[type].values === 0) return type
  return isReblocked(type) && columns % blockColumns === 0 ? reblockedTypes[type] : 'F32'
}

/** The part of the shape that a matrix of a layer belongs to. */
export const partName = (spec: ModelSpec, { mixer, feedForward }: LayerSpec, role: string): string | undefined => {
  if (/^attention\.(q|k|v|o|gate)$/.test(role) && isAttention(mixer)) {
    const cut = attentionCut(spec, mixer)
    return normsProjection(mixer) && /\.[qk]$/.test(role) ? copiesOf(cut) : cut
  }
  if (/^mla\.(q|qb|kb|vb|o)$/.test(role) && isHeaded(mixer)) return attentionCut(spec, mixer)
  if (/^mla\.(qa|kva)$/.test(role) && isHeaded(mixer)) return copiesOf(attentionCut(spec, mixer))
  if (/^delta\.(qkv|z|o)$/.test(role) && mixer.kind === 'delta') return deltaCut(mixer)
  const matrix = /^mlp\.(?:(experts|shared)\.)?(?:gate|up|down)$/.exec(role)
  if (!matrix) return undefined
  const { dense, experts } = feedForward
  const width = { experts: experts?.ffn, shared: experts?.shared?.ffn }[matrix[1]] ?? dense?.ffn
  return width === undefined ? undefined : widthCut(spec, width)
}

/** Bits of a weight on average, where a file has fewer than 32: what a plan counts that keeps them. */
export const fileBitsOf = (spec: ModelSpec, roles: Roles): Pick<ModelShape, 'fileBits'> => {
  const sums = new Map<string, { bits: number; weights: number }>()
  let isExact = true
  for (const { role, layer, part, rows, columns } of rolesOf(spec)) {
    const isHead = role === (spec.tied ? 'embedding' : 'head')
    const name = isHead ? 'head' : layer === undefined ? undefined : partName(spec, layerSpec(spec, layer), part)
    if (name === undefined) continue
    const { type } = roles.role(role)
    const isCut = layer !== undefined && /\.(o|down)$/.test(part)
    const { values, bytes } = blockSizes[isCut ? finest(type, unitColumns(layerSpec(spec, layer), part)) : type]
    isExact &&= type === 'F32'
    const sum = sums.get(name) ?? { bits: 0, weights: 0 }
    sums.set(name, {
      bits: sum.bits + (rows * columns * bytes * 8) / values,
      weights: sum.weights + rows * columns,
    })
  }
  if (isExact) return {}
  return { fileBits: Object.fromEntries([...sums].map(([name, { bits, weights }]) => [name, bits / weights])) }
}
