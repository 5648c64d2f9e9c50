/**
 * Which units of each cut dimension a rank holds. A dimension is cut once for the whole model: heads of attention of
 * one geometry, columns of MLPs of one width.
 */
import type { Range } from '../../shared/schema/common.ts'
import type { RankRanges } from '../../shared/schema/ring.ts'
import type { AttentionSpec, LatentAttentionSpec, MixerSpec, ModelSpec } from './architecture/model-spec.ts'

const nothing: Range = { start: 0, end: 0 }

/** Own query heads and key/value heads of a layer with that attention. */
export interface HeadRanges {
  readonly heads: Range
  readonly kvHeads: Range
}

/** Mixers whose heads are cut as those of attention; of latent attention every head is a unit. */
export type HeadedSpec = AttentionSpec | LatentAttentionSpec

export const isHeaded = (mixer: MixerSpec): mixer is HeadedSpec => mixer.kind === 'attention' || mixer.kind === 'mla'

const kvHeadsOf = (mixer: HeadedSpec): number => (mixer.kind === 'mla' ? mixer.heads : mixer.kvHeads)

const geometryOf = (mixer: HeadedSpec): string =>
  mixer.kind === 'mla'
    ? `${mixer.heads}x${mixer.queryRank ?? 0}x${mixer.kvRank}x${mixer.nopeDim}+${mixer.ropeDim}x${mixer.valueDim}`
    : `${mixer.heads}x${mixer.kvHeads}x${mixer.headDim}`

/** The first attention of the model: its heads are `heads` and `kvHeads` of the ranges. */
const firstAttention = ({ kinds, layers }: Pick<ModelSpec, 'kinds' | 'layers'>): HeadedSpec | undefined =>
  layers.map((kind) => kinds[kind].mixer).find(isHeaded)

/** Columns of MLPs and experts, each width once, in the order of the layer kinds. */
export const widthsOf = ({ kinds }: Pick<ModelSpec, 'kinds'>): number[] => [
  ...new Set(
    kinds.flatMap(({ feedForward: { dense, experts } }) =>
      [dense?.ffn, experts?.ffn, experts?.shared?.ffn].filter((width) => width !== undefined),
    ),
  ),
]

/** @throws Error where the plan does not cut that dimension */
export const further = ({ parts }: RankRanges, name: string): Range => {
  const range = parts?.[name]
  if (!range) throw new Error(`the plan does not say how ${name} is cut`)
  return range
}

/** Name of the dimension that heads of that geometry are cut by. */
export const attentionCut = (spec: Pick<ModelSpec, 'kinds' | 'layers'>, mixer: HeadedSpec): string => {
  const first = firstAttention(spec)
  return first && geometryOf(first) === geometryOf(mixer) ? 'kvHeads' : `heads ${geometryOf(mixer)}`
}

/** Name of the dimension that MLPs of that width are cut by. */
export const widthCut = (spec: Pick<ModelSpec, 'kinds'>, width: number): string =>
  widthsOf(spec)[0] === width ? 'ffn' : `columns ${width}`

/** True of MLPs whose columns a plan cuts first. */
export const isMainWidth = (spec: Pick<ModelSpec, 'kinds'>, width: number): boolean => widthCut(spec, width) === 'ffn'

/** Heads of a rank in a layer with that attention. */
export const headsOf = (spec: ModelSpec, ranges: RankRanges, mixer: HeadedSpec): HeadRanges => {
  const cut = attentionCut(spec, mixer)
  if (cut === 'kvHeads') return ranges
  const kvHeads = further(ranges, cut)
  const group = mixer.heads / kvHeadsOf(mixer)
  return { kvHeads, heads: { start: kvHeads.start * group, end: kvHeads.end * group } }
}

/**
 * True where q and k are normed over all of their heads: a rank with heads then has all rows of both, and takes its own
 * heads from them. The other way would be a sum of two numbers a row over all ranks in the middle of every layer: half
 * as many messages again, where the copies are a few percent of the weights.
 */
export const normsProjection = ({ qkNorm }: AttentionSpec): boolean => qkNorm?.over === 'projection'

/** Columns of a rank in MLPs of that width. */
export const columnsOf = (spec: Pick<ModelSpec, 'kinds'>, ranges: RankRanges, width: number): Range => {
  const cut = widthCut(spec, width)
  return cut === 'ffn' ? ranges.ffn : further(ranges, cut)
}

/** True for the one rank that adds what is added once for all: it holds the first unit. */
export const isFirst = (range: Range = nothing): boolean => range.start === 0 && range.end > 0

/** The same for equal ranges. */
export const rangesText = ({ parts = {}, ...ranges }: RankRanges): string =>
  [...Object.entries(ranges), ...Object.entries(parts)]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, { start, end }]) => `${name} ${start}-${end}`)
    .join('/')
