/**
 * Which columns each rank holds: one pure function that everything that slices asks.
 *
 * Split as in Megatron-LM (Shoeybi et al., 2019): q, k, v and gate, up are column-parallel; o and down are
 * row-parallel, so that a layer needs two all-reduces. The unit of attention is a key/value head with its group of
 * query heads; the unit of the MLP and of the vocabulary is a block of 32 columns (the last may be smaller), which is
 * also the block of quantisation where a backend wants no wider one. A weight has the same quantised value however the
 * model is split: blocks are those of the whole tensor (`agent/model/shard-layout.ts`).
 *
 * Shares are weights. Attention comes in coarse units, so the MLP makes up for it: a rank that got fewer heads than
 * its share gets more MLP columns (all of its columns, when there are more ranks than key/value heads).
 */
import { MeshError } from '../errors.ts'
import type { Range } from '../schema/common.ts'
import type { ModelPart, ModelShape } from '../schema/model.ts'
import type { RankRanges } from '../schema/ring.ts'
import { limits } from '../limits.ts'

/** Columns in one unit of the MLP and of the vocabulary. */
export const blockColumns = 32

/**
 * Splits `units` in proportion to `weights` by the largest-remainder method; ties go to the lower rank.
 * @returns whole numbers that sum to `units`; zero where the weight is zero
 */
export const apportion = (units: number, weights: readonly number[]): number[] => {
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  if (total <= 0) return weights.map((_, rank) => (rank === 0 ? units : 0))
  const exact = weights.map((weight) => (units * weight) / total)
  const counts = exact.map(Math.floor)
  const left = units - counts.reduce((sum, count) => sum + count, 0)
  const byRemainder = exact
    .map((value, rank) => ({ rank, remainder: value - counts[rank] }))
    .filter(({ rank }) => weights[rank] > 0)
    .toSorted((a, b) => b.remainder - a.remainder || a.rank - b.rank)
  for (let index = 0; index < left; index++) counts[byRemainder[index % byRemainder.length].rank]++
  return counts
}

const ranges = (counts: readonly number[], unit: number, end: number): Range[] => {
  let at = 0
  return counts.map((count) => {
    const start = Math.min(at * unit, end)
    at += count
    return { start, end: Math.min(at * unit, end) }
  })
}

const nothing: Range = { start: 0, end: 0 }

/** The dimensions that a model is cut in, coarse ones first: finer ones make up for them. */
export const partsOf = (shape: ModelShape): readonly ModelPart[] => {
  const { layers: count, hidden, headDim, ffn } = shape
  const group = shape.heads / shape.kvHeads
  return (
    shape.parts ?? [
      {
        name: 'kvHeads',
        units: shape.kvHeads,
        together: 1,
        matrices: [
          { count, cut: 'rows', rows: (group + 2) * headDim, columns: hidden },
          { count, cut: 'columns', rows: hidden, columns: group * headDim },
        ],
        cache: 2 * count * headDim,
        state: 0,
        activations: 3 * (group + 2) * headDim,
      },
      {
        name: 'ffn',
        units: ffn,
        together: blockColumns,
        matrices: [
          { count, cut: 'rows', rows: 2, columns: hidden },
          { count, cut: 'columns', rows: hidden, columns: 1 },
        ],
        cache: 0,
        state: 0,
        activations: 3,
      },
    ]
  )
}

/** Units of a part that these ranges hold. */
export const rangeOf = (own: RankRanges, { name }: Pick<ModelPart, 'name'>): Range =>
  name === 'kvHeads' || name === 'ffn' ? own[name] : (own.parts?.[name] ?? nothing)

const weightsIn = (matrices: ModelPart['matrices']): number =>
  matrices.reduce((sum, { count, rows, columns }) => sum + count * rows * columns, 0)

/** Weights of one unit of a part. */
const unitWeights = ({ matrices }: ModelPart): number => weightsIn(matrices)

/** Weights of what every rank holds that holds a unit of the part. */
const copiedWeights = ({ copied }: ModelPart): number => weightsIn(copied?.matrices ?? [])

/** Multiply-adds of one unit of a part for one token. */
const unitWork = ({ matrices }: ModelPart): number =>
  matrices.reduce((sum, { count, used = count, rows, columns }) => sum + used * rows * columns, 0)

/**
 * Ranges of every rank.
 * @param shares one positive weight per rank; only their proportion matters
 * @returns for each rank half-open ranges; together they cover heads, MLP columns and vocabulary exactly once
 * @throws MeshError `planImpossible`
 */
export const planShards = (shape: ModelShape, shares: readonly number[]): RankRanges[] => {
  if (shares.length === 0 || shares.length > limits.worldSize)
    throw new MeshError('planImpossible', { problem: `${shares.length} ranks, want 1 to ${limits.worldSize}` })
  if (shares.some((share) => !(share > 0) || !Number.isFinite(share)))
    throw new MeshError('planImpossible', { problem: `shares must be positive, got ${shares.join(', ')}` })
  if (shape.heads % shape.kvHeads !== 0)
    throw new MeshError('planImpossible', {
      problem: `${shape.heads} heads are no multiple of ${shape.kvHeads} key/value heads`,
    })
  if (!Number.isSafeInteger(weightsOf(shape)))
    throw new MeshError('planImpossible', { problem: 'the model has more weights than can be counted exactly' })

  const cuts = cutParts(partsOf(shape), shares)
  const vocab = ranges(apportion(Math.ceil(shape.vocab / blockColumns), shares), blockColumns, shape.vocab)
  const group = shape.heads / shape.kvHeads
  return shares.map((_, rank) => {
    const { kvHeads = nothing, ffn = nothing, ...parts } = cuts[rank]
    return {
      kvHeads,
      heads: { start: kvHeads.start * group, end: kvHeads.end * group },
      ffn,
      vocab: vocab[rank],
      ...(Object.keys(parts).length > 0 && { parts }),
    }
  })
}

/** Each part in turn goes to whom most is owed of all that is computed. @returns for each rank a range per part */
const cutParts = (parts: readonly ModelPart[], shares: readonly number[]): Record<string, Range>[] => {
  const blocksOf = ({ units, together }: ModelPart): number => Math.ceil(units / together)
  const costOf = (part: ModelPart): number => part.together * unitWork(part)
  const total = parts.reduce((sum, part) => sum + blocksOf(part) * costOf(part), 0)
  const sum = shares.reduce((a, b) => a + b, 0)
  const owed = shares.map((share) => (share / sum) * total)
  const cuts = shares.map((): Record<string, Range> => ({}))
  for (const [index, part] of parts.entries()) {
    const counts = apportion(blocksOf(part), index === 0 ? shares : owed.map((cost) => Math.max(0, cost)))
    for (const [rank, range] of ranges(counts, part.together, part.units).entries()) {
      cuts[rank][part.name] = range
      owed[rank] -= counts[rank] * costOf(part)
    }
  }
  return cuts
}

export const sizeOf = (range: Range): number => range.end - range.start

/** Matrix weights of the whole model: of one without experts also its multiply-adds per token, but for scores. */
export const weightsOf = (shape: ModelShape): number =>
  partsOf(shape).reduce((sum, part) => sum + part.units * unitWeights(part) + copiedWeights(part), 0) +
  shape.vocab * shape.hidden

/** Matrix weights that these ranges stand for; over all ranks of a plan they sum to `weightsOf`. */
export const heldWeights = (shape: ModelShape, own: RankRanges): number =>
  partsOf(shape).reduce((sum, part) => {
    const { start, end } = rangeOf(own, part)
    // of what several ranks hold whole, each stands for as much as of the units
    const [from, to] = [start, end].map((at) => Math.floor((copiedWeights(part) * at) / part.units))
    return sum + (end - start) * unitWeights(part) + (to - from)
  }, 0) +
  sizeOf(own.vocab) * shape.hidden

/** Matrix weights that a rank with these ranges stores: copies count on each. */
export const storedWeights = (shape: ModelShape, own: RankRanges): number =>
  partsOf(shape).reduce((sum, part) => {
    const units = sizeOf(rangeOf(own, part))
    return sum + units * unitWeights(part) + (units > 0 ? copiedWeights(part) : 0)
  }, 0) +
  sizeOf(own.vocab) * shape.hidden

/** Multiply-adds of these ranges for one token, without the head. */
export const heldWork = (shape: ModelShape, own: RankRanges): number =>
  partsOf(shape).reduce((sum, part) => sum + sizeOf(rangeOf(own, part)) * unitWork(part), 0)

/** Fraction of the whole model's matrix weights that these ranges hold. */
export const fractionOf = (shape: ModelShape, own: RankRanges): number => heldWeights(shape, own) / weightsOf(shape)
