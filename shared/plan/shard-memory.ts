/**
 * How many bytes a rank needs for its columns, and a plan in which no rank gets more than it has room for. The figures
 * are upper bounds over both backends, so that what is planned is never less than what is used.
 */
import type { Range } from '../schema/common.ts'
import type { MatrixGroup, ModelPart, ModelShape, Quant } from '../schema/model.ts'
import type { RankRanges } from '../schema/ring.ts'
import { partsOf, planShards, rangeOf, sizeOf } from './shard-plan.ts'

/** Bytes beside weights and caches: two Node processes (agent and compute) with libraries and heaps; measured 220 MB on Linux x64. */
export const runtimeBytes = 250e6
/** Tokens of one step, as the leader sends them. */
const stepRows = 256
/** Every tensor of a shard begins at a multiple of this. */
const alignmentBytes = 4096
/** A ring is not worth forming with less context than this, unless the model has less. */
const leastContext = 2048
/** Attempts to move columns from full ranks to others. */
const attempts = 24

/** Bytes of a matrix; blocks of 32 columns with one f32 scale each where it is quantised. */
const matrixBytes = (rows: number, columns: number, quant: Quant): number => {
  if (rows === 0 || columns === 0) return 0
  const block = quant === 'q8' ? 36 : 20
  return alignmentBytes * 2 + (quant === 'f32' ? rows * columns * 4 : rows * Math.ceil(columns / 32) * block)
}

/** The same of some columns of a matrix: with 4 bits they may lie in blocks of 128, and all of a block is stored. */
const slicedBytes = (rows: number, columns: Range, quant: Quant): number => {
  const least = matrixBytes(rows, sizeOf(columns), quant)
  if (least === 0 || quant !== 'q4') return least
  return Math.max(least, alignmentBytes * 2 + rows * Math.ceil(((columns.start % 128) + sizeOf(columns)) / 128) * 68)
}

/** Bytes of matrices that keep the bits of their file. */
const keptBytes = ({ fileBits }: ModelShape, name: string, matrices: number, weights: number): number =>
  weights === 0 ? 0 : matrices * alignmentBytes * 2 + (weights * (fileBits?.[name] ?? 32)) / 8

const groupBytes = ({ count, cut, rows, columns }: MatrixGroup, quant: Quant, own: Range): number =>
  count *
  (cut === 'rows'
    ? matrixBytes(sizeOf(own) * rows, columns, quant)
    : slicedBytes(rows, { start: own.start * columns, end: own.end * columns }, quant))

/** Bytes of what every rank holds whole. */
const wholeBytes = ({ whole, hidden, layers }: ModelShape): number =>
  whole === undefined ? (2 * layers + 1) * (hidden * 4 + alignmentBytes) : whole * 4 + 16 * layers * alignmentBytes

/** Bytes of the matrices of a part that are whole on every rank which holds some of it. */
const copiedBytes = (shape: ModelShape, quant: Quant, ranges: RankRanges, part: ModelPart): number => {
  if (sizeOf(rangeOf(ranges, part)) === 0) return 0
  return (part.copied?.matrices ?? []).reduce((sum, { count, rows, columns }) => {
    const whole =
      quant === 'file'
        ? keptBytes(shape, copiesOf(part.name), count, count * rows * columns)
        : count * matrixBytes(rows, columns, quant)
    return sum + whole
  }, 0)
}

/** Under which name the bits of the copied matrices of a part are. */
export const copiesOf = (part: string): string => `copies ${part}`

/** Bytes of the weights of these ranges. */
export const weightBytes = (shape: ModelShape, quant: Quant, ranges: RankRanges): number =>
  partsOf(shape).reduce(
    (sum, part) =>
      sum +
      part.matrices.reduce(
        (bytes, group) => {
          const own = rangeOf(ranges, part)
          const weights = group.count * group.rows * group.columns * sizeOf(own)
          // q, k and v, gate and up stay apart where they keep their bits
          return (
            bytes +
            (quant === 'file' ? keptBytes(shape, part.name, 3 * group.count, weights) : groupBytes(group, quant, own))
          )
        },
        copiedBytes(shape, quant, ranges, part) + 4 * sizeOf(rangeOf(ranges, part)) * (part.plain ?? 0),
      ),
    wholeBytes(shape) +
      (quant === 'file'
        ? keptBytes(shape, 'head', 1, sizeOf(ranges.vocab) * shape.hidden)
        : matrixBytes(sizeOf(ranges.vocab), shape.hidden, quant)),
  )

/** Sum over the units of these ranges, and what comes with the first of them. */
const held = (shape: ModelShape, ranges: RankRanges, what: 'cache' | 'state' | 'activations'): number =>
  partsOf(shape).reduce((sum, part) => {
    const units = sizeOf(rangeOf(ranges, part))
    const copied = what === 'state' || units === 0 ? 0 : (part.copied?.[what] ?? 0)
    return sum + units * part[what] + copied
  }, 0)

/** Bytes for one more token of context: keys and values as f32, and its column in the attention masks of a step. */
export const bytesPerToken = (shape: ModelShape, ranges: RankRanges): number =>
  held(shape, ranges, 'cache') * 4 + stepRows * 4

/** Bytes of activations of one step, on their way in and out and inside a half layer; and the state of a sequence. */
const stepBytes = (shape: ModelShape, ranges: RankRanges): number =>
  4 *
  (stepRows * (8 * shape.hidden + held(shape, ranges, 'activations')) +
    4 * sizeOf(ranges.vocab) +
    held(shape, ranges, 'state'))

/** Bytes that a rank needs for all of it. @param context tokens of the one sequence it holds */
export const rankBytes = (shape: ModelShape, quant: Quant, ranges: RankRanges, context: number): number =>
  runtimeBytes + weightBytes(shape, quant, ranges) + stepBytes(shape, ranges) + context * bytesPerToken(shape, ranges)

const nothing = { start: 0, end: 0 }

/** Bytes that even a rank needs that holds next to nothing: one head, or one block of columns. */
export const leastRankBytes = (shape: ModelShape, quant: Quant): number =>
  Math.min(
    ...partsOf(shape).map(({ name, units, together }) => {
      const least = { start: 0, end: Math.min(together, units) }
      const ranges = { heads: nothing, kvHeads: nothing, vocab: nothing, ffn: nothing }
      const own =
        name === 'kvHeads' || name === 'ffn' ? { ...ranges, [name]: least } : { ...ranges, parts: { [name]: least } }
      return rankBytes(shape, quant, own, 0)
    }),
  )

export interface RankRoom {
  readonly share: number
  /** Bytes that this rank may take for the shard, all in. */
  readonly roomBytes: number
}

export interface FittedPlan {
  readonly fits: true
  readonly ranges: readonly RankRanges[]
  /** Tokens of context for which every rank has room: that of the model, or less. */
  readonly context: number
  /** What each rank takes. */
  readonly bytes: readonly number[]
}

/** The rank that lacks most in the plan that comes nearest. */
export interface Shortage {
  readonly fits: false
  readonly rank: number
  readonly needsBytes: number
  readonly lacksBytes: number
}

/** What share of all a rank has at the least: a member may say any share, and products of the smallest numbers are 0. */
const leastProportion = 1e-9

const proportions = (shares: readonly number[]): number[] => {
  const total = shares.reduce((sum, share) => sum + share, 0)
  return shares.map((share) => Math.max(share / total, leastProportion))
}

/**
 * Ranges by share, but no rank gets more than it has room for: what does not fit on one goes to the others, and the
 * context is cut (not below 2048 tokens) before anything is refused.
 * @throws MeshError `planImpossible`
 */
export const planWithin = (shape: ModelShape, quant: Quant, ranks: readonly RankRoom[]): FittedPlan | Shortage => {
  const least = Math.min(shape.context, leastContext)
  let weights = proportions(ranks.map(({ share }) => share))
  for (let attempt = 0; attempt < attempts; attempt++) {
    const plan = planShards(shape, weights)
    const used = plan.map((ranges) => rankBytes(shape, quant, ranges, least))
    if (used.every((bytes, rank) => bytes <= ranks[rank].roomBytes)) return withContext(shape, quant, ranks, plan)
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    weights = weights.map((weight, rank) => {
      const room = Math.max(0, ranks[rank].roomBytes - runtimeBytes)
      const factor = used[rank] > ranks[rank].roomBytes ? room / (used[rank] - runtimeBytes) : 1
      return Math.max(weight * factor * (factor < 1 ? 0.98 : 1), total * leastProportion)
    })
  }
  // the last resort is what decides and what is told: columns in proportion to room
  const plan = planShards(
    shape,
    ranks.map(({ roomBytes }) => Math.max(1, roomBytes - runtimeBytes)),
  )
  const lacks = plan.map((ranges, rank) => rankBytes(shape, quant, ranges, least) - ranks[rank].roomBytes)
  const worst = lacks.indexOf(Math.max(...lacks))
  return lacks[worst] <= 0
    ? withContext(shape, quant, ranks, plan)
    : { fits: false, rank: worst, needsBytes: lacks[worst] + ranks[worst].roomBytes, lacksBytes: lacks[worst] }
}

const withContext = (
  shape: ModelShape,
  quant: Quant,
  ranks: readonly RankRoom[],
  plan: readonly RankRanges[],
): FittedPlan => {
  const contexts = plan.map((ranges, rank) =>
    Math.floor((ranks[rank].roomBytes - rankBytes(shape, quant, ranges, 0)) / bytesPerToken(shape, ranges)),
  )
  const context = Math.min(shape.context, ...contexts)
  return { fits: true, ranges: plan, context, bytes: plan.map((ranges) => rankBytes(shape, quant, ranges, context)) }
}
