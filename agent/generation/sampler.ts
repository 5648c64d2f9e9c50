/**
 * Choosing the next token. Every rank picks candidates from its part of the vocabulary; rank 0 merges them and draws.
 *
 * Order, as in Hugging Face's transformers: repetition penalty (Keskar et al., 2019: positive logits divided, negative
 * multiplied), temperature, top-k, top-p (the smallest set that reaches p), min-p (relative to the likeliest). Top-p
 * counts probabilities among what top-k left. The token is the one in which a random number lies, where tokens stand
 * one behind another by falling logit (then rising id), each as wide as it is likely.
 *
 * So nearly always the candidates say which it is: ranks also send the log-sum-exp of all their logits. Where they do
 * not (the number lies behind them, or the border of top-p does), `sample` says so, and `sampleAll` draws from all
 * logits. The result is that of one rank that knows all, however the vocabulary is split.
 */
import { MeshError } from '../../shared/errors.ts'
import type { Sampling } from '../../shared/schema/job.ts'
import type { Candidates, RankLogits } from './candidates.ts'
import { uniformAt } from './random.ts'

/** What decides besides the logits. */
export interface DrawContext {
  /** Tokens of prompt and answer so far. */
  readonly history: readonly number[]
  readonly sampling: Sampling
}

export interface PickOptions extends DrawContext {
  readonly count: number
}

/**
 * Logits as they are drawn from; the input stays as it is.
 * @param logits f32 [own vocabulary columns]
 * @throws MeshError `backendFailed` when a logit is not a number: the weights or the backend are broken
 */
export const adjustLogits = (
  logits: Float32Array,
  vocabStart: number,
  { history, sampling }: DrawContext,
): Float32Array => {
  if (logits.some(Number.isNaN))
    throw new MeshError('backendFailed', { backend: 'compute', problem: 'a logit is not a number' })
  const { repetitionPenalty: penalty } = sampling
  if (penalty === 1) return logits
  const changed = logits.slice()
  for (const token of new Set(history)) {
    const index = token - vocabStart
    if (index >= 0 && index < logits.length)
      changed[index] = logits[index] > 0 ? logits[index] / penalty : logits[index] * penalty
  }
  return changed
}

/** Indices of the `count` largest values, by a heap whose root is the worst of those kept. */
const largest = (values: Float32Array, count: number): number[] => {
  const isWorse = (a: number, b: number): boolean => values[a] < values[b] || (values[a] === values[b] && a > b)
  const heap: number[] = []
  const sink = (start: number): void => {
    for (let at = start; ;) {
      let worst = at
      for (const child of [2 * at + 1, 2 * at + 2])
        if (child < heap.length && isWorse(heap[child], heap[worst])) worst = child
      if (worst === at) return
      ;[heap[at], heap[worst]] = [heap[worst], heap[at]]
      at = worst
    }
  }
  for (let index = 0; index < values.length; index++) {
    if (heap.length < count) {
      heap.push(index)
      if (heap.length === count) for (let at = (count >> 1) - 1; at >= 0; at--) sink(at)
    } else if (isWorse(heap[0], index)) {
      heap[0] = index
      sink(0)
    }
  }
  return heap.toSorted((a, b) => (isWorse(a, b) ? 1 : -1))
}

const best = (values: Float32Array): number => {
  let found = 0
  for (let index = 1; index < values.length; index++) if (values[index] > values[found]) found = index
  return found
}

const logSumExp = (values: Float32Array, top: number, temperature: number): number => {
  let sum = 0
  for (const value of values) sum += Math.exp((value - top) / temperature)
  return top / temperature + Math.log(sum)
}

/**
 * Candidates of one rank.
 * @param logits f32 [own vocabulary columns]
 * @throws MeshError `backendFailed` when a logit is not a number
 */
export const topCandidates = (
  logits: Float32Array,
  vocabStart: number,
  { count, history, sampling }: PickOptions,
): Candidates => {
  if (logits.length === 0)
    return { ids: new Uint32Array(0), logits: new Float32Array(0), logSumExp: -Infinity, complete: true }
  const values = adjustLogits(logits, vocabStart, { history, sampling })
  const indices = count === 1 ? [best(values)] : largest(values, Math.min(count, values.length))
  return {
    ids: Uint32Array.from(indices, (index) => index + vocabStart),
    logits: Float32Array.from(indices, (index) => values[index]),
    // the greedy choice needs no probabilities
    logSumExp: sampling.temperature === 0 ? 0 : logSumExp(values, values[indices[0]], sampling.temperature),
    complete: indices.length === values.length,
  }
}

/** Candidates of all ranks by falling logit, then rising id. */
interface Merged {
  readonly ids: readonly number[]
  readonly logits: readonly number[]
  /** These are all tokens. */
  readonly complete: boolean
}

/** The first `count` (0: all) that are certain: up to where a rank kept tokens back. */
const merge = (ranks: readonly Candidates[], count: number): Merged => {
  const cursors = ranks.map((rank) => ({ ...rank, at: 0 }))
  const [ids, logits]: [number[], number[]] = [[], []]
  for (;;) {
    let first: (typeof cursors)[number] | undefined
    for (const cursor of cursors) {
      if (cursor.at === cursor.ids.length) continue
      const difference = first ? cursor.logits[cursor.at] - first.logits[first.at] : 1
      if (!first || difference > 0 || (difference === 0 && cursor.ids[cursor.at] < first.ids[first.at])) first = cursor
    }
    if (!first) return { ids, logits, complete: true }
    ids.push(first.ids[first.at])
    logits.push(first.logits[first.at])
    first.at++
    if (ids.length === count || (!first.complete && first.at === first.ids.length))
      return { ids, logits, complete: false }
  }
}

/** Tokens by falling weight, the first of which has weight 1. */
interface Falling {
  readonly weights: Float64Array
  /** These are all. */
  readonly complete: boolean
  /** Weight of all tokens; known also where these are not all. */
  readonly whole: number
}

const weightsOf = (falling: ArrayLike<number>, temperature: number): Float64Array => {
  const weights = new Float64Array(falling.length)
  for (let index = 0; index < falling.length; index++)
    weights[index] = Math.exp((falling[index] - falling[0]) / temperature)
  return weights
}

/** How many weights, from the first on, reach `wanted`; `undefined` when all of these do not. */
const countTo = (weights: Float64Array, limit: number, wanted: number): number | undefined => {
  let sum = 0
  for (let index = 0; index < limit; index++) if ((sum += weights[index]) >= wanted) return index + 1
  return undefined
}

const sumOf = (weights: Float64Array, count: number): number => {
  let sum = 0
  for (let index = 0; index < count; index++) sum += weights[index]
  return sum
}

/** Which weight a point lies in, counted from the first weight on; `undefined` when it lies behind all. */
const indexAt = (weights: Float64Array, count: number, point: number): number | undefined => {
  let left = point
  for (let index = 0; index < count; index++) if ((left -= weights[index]) < 0) return index
  return undefined
}

/**
 * Which of these tokens is drawn.
 * @param random 0 <= random < 1
 * @returns `undefined` when that depends on tokens that are not among these
 */
const drawIndex = (
  { weights, complete, whole }: Falling,
  { topK, topP, minP }: Sampling,
  random: number,
): number | undefined => {
  const limit = topK > 0 ? Math.min(topK, weights.length) : weights.length
  const isLimited = topK > 0 && topK <= weights.length
  const counted = isLimited || (complete && topK > 0) ? sumOf(weights, limit) : whole
  // tokens that are kept, as far as that is certain
  let kept = isLimited || complete ? limit : undefined
  if (topP < 1) kept = countTo(weights, limit, topP * counted) ?? kept
  // weights fall: with the first that is too small for min-p all others go
  const small = minP > 0 ? weights.findIndex((weight) => weight < minP) : -1
  if (small >= 0) kept = Math.min(kept ?? small, small)
  // rounding left a rest
  if (kept !== undefined) return indexAt(weights, kept, random * sumOf(weights, kept)) ?? kept - 1
  if (topK > 0) return undefined
  // The border of top-p or min-p lies behind these. Their weight lies between two bounds; often both give one token.
  const least = minP > 0 ? sumOf(weights, limit) : Math.min(1, topP) * whole
  const most = topP < 1 ? topP * whole + weights[limit - 1] : whole
  const index = indexAt(weights, limit, random * least)
  return index === indexAt(weights, limit, random * most) ? index : undefined
}

/**
 * Draws one token.
 * @param ranks candidates of every rank
 * @param position index in the context that the token will have; with the seed it decides the random number
 * @returns `undefined` when the candidates do not tell: `sampleAll` does
 */
export const sample = (
  ranks: readonly Candidates[],
  sampling: Sampling,
  position: number,
): { readonly id: number } | undefined => {
  const { temperature, topK, seed } = sampling
  const { ids, logits, complete } = merge(ranks, temperature === 0 ? 1 : topK)
  if (ids.length === 0) throw new MeshError('frameInvalid', { problem: 'no rank sent candidates' })
  if (temperature === 0) return { id: ids[0] }
  const weights = weightsOf(logits, temperature)
  const whole = ranks.reduce((sum, rank) => sum + Math.exp(rank.logSumExp - logits[0] / temperature), 0)
  const index = drawIndex({ weights, complete, whole }, sampling, uniformAt(seed, position))
  return index === undefined ? undefined : { id: ids[index] }
}

/** Draws one token from all logits; the same one as `sample` where that can tell. */
export const sampleAll = (
  ranks: readonly RankLogits[],
  sampling: Sampling,
  position: number,
): { readonly id: number } => {
  const inOrder = ranks.toSorted((a, b) => a.vocabStart - b.vocabStart)
  const all = new Float32Array(inOrder.reduce((sum, { logits }) => sum + logits.length, 0))
  inOrder.reduce((at, { logits }) => {
    all.set(logits, at)
    return at + logits.length
  }, 0)
  const falling = all.toSorted().toReversed()
  const weights = weightsOf(falling, sampling.temperature)
  const index =
    drawIndex(
      { weights, complete: true, whole: sumOf(weights, weights.length) },
      sampling,
      uniformAt(sampling.seed, position),
    ) ?? 0
  // of tokens with the same logit the lowest id comes first
  let before = index - falling.indexOf(falling[index])
  for (const { vocabStart, logits } of inOrder) {
    for (let at = logits.indexOf(falling[index]); at >= 0; at = logits.indexOf(falling[index], at + 1))
      if (before-- === 0) return { id: vocabStart + at }
  }
  throw new Error('a token that was drawn has no place')
}
