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
import type { ModelShape } from '../schema/model.ts'
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

/** Multiply-adds of one key/value group (q, k, v and o) and of one MLP block, per token and layer. */
const unitCosts = (shape: ModelShape): { readonly group: number; readonly block: number } => ({
  group: (2 * (shape.heads / shape.kvHeads) + 2) * shape.headDim * shape.hidden,
  block: 3 * blockColumns * shape.hidden,
})

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

  const group = shape.heads / shape.kvHeads
  const groups = apportion(shape.kvHeads, shares)
  const cost = unitCosts(shape)
  const blocks = Math.ceil(shape.ffn / blockColumns)
  const total = shape.kvHeads * cost.group + blocks * cost.block
  const sum = shares.reduce((a, b) => a + b, 0)
  const owed = shares.map((share, rank) => Math.max(0, (share / sum) * total - groups[rank] * cost.group))
  const ffn = ranges(apportion(blocks, owed), blockColumns, shape.ffn)
  const vocab = ranges(apportion(Math.ceil(shape.vocab / blockColumns), shares), blockColumns, shape.vocab)
  const kvHeads = ranges(groups, 1, shape.kvHeads)
  return shares.map((_, rank) => ({
    kvHeads: kvHeads[rank],
    heads: { start: kvHeads[rank].start * group, end: kvHeads[rank].end * group },
    ffn: ffn[rank],
    vocab: vocab[rank],
  }))
}

export const sizeOf = (range: Range): number => range.end - range.start

/** Matrix weights of the whole model: also its multiply-adds per token, attention scores left out. */
export const weightsOf = (shape: ModelShape): number =>
  shape.layers * (shape.kvHeads * unitCosts(shape).group + 3 * shape.hidden * shape.ffn) + shape.vocab * shape.hidden

/** Matrix weights that these ranges hold; over all ranks of a plan they sum to `weightsOf`. */
export const heldWeights = (shape: ModelShape, own: RankRanges): number =>
  shape.layers * (sizeOf(own.kvHeads) * unitCosts(shape).group + 3 * shape.hidden * sizeOf(own.ffn)) +
  sizeOf(own.vocab) * shape.hidden

/** Fraction of the whole model's matrix weights that these ranges hold. */
export const fractionOf = (shape: ModelShape, own: RankRanges): number => heldWeights(shape, own) / weightsOf(shape)
