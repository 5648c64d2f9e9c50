/**
 * Choosing the next token. Every rank picks candidates from its part of the vocabulary; rank 0 merges them and draws.
 *
 * Order, as in Hugging Face's transformers: repetition penalty (Keskar et al., 2019: positive logits divided, negative
 * multiplied), temperature, top-k, top-p (the smallest set that reaches p), min-p (relative to the likeliest). Top-p
 * counts probabilities among what top-k left. Without top-k they are exact over the whole vocabulary, because ranks
 * send the log-sum-exp of all their logits; only tokens beyond the best 1024 of a rank can never be drawn.
 */
import { MeshError } from '../../shared/errors.ts'
import type { Sampling } from '../../shared/schema/job.ts'
import type { Candidates } from './candidates.ts'
import { uniformAt } from './random.ts'

export interface PickOptions {
  readonly count: number
  /** Tokens of prompt and answer so far. */
  readonly history: readonly number[]
  readonly sampling: Sampling
}

/** Divides or multiplies the logits of used tokens, each once; the input stays as it is. */
const penalise = (logits: Float32Array, vocabStart: number, history: readonly number[], penalty: number): Float32Array => {
  if (penalty === 1) return logits
  const changed = logits.slice()
  for (const token of new Set(history)) {
    const index = token - vocabStart
    if (index >= 0 && index < logits.length) changed[index] = logits[index] > 0 ? logits[index] / penalty : logits[index] * penalty
  }
  return changed
}

/** Indices of the `count` largest values, by a heap whose root is the worst of those kept. */
const largest = (values: Float32Array, count: number): number[] => {
  const isWorse = (a: number, b: number): boolean => values[a] < values[b] || (values[a] === values[b] && a > b)
  const heap: number[] = []
  const sink = (start: number): void => {
    for (let at = start; ; ) {
      let worst = at
      for (const child of [2 * at + 1, 2 * at + 2]) if (child < heap.length && isWorse(heap[child], heap[worst])) worst = child
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
 * @throws MeshError `backendFailed` when a logit is not a number: the weights or the backend are broken
 */
export const topCandidates = (logits: Float32Array, vocabStart: number, { count, history, sampling }: PickOptions): Candidates => {
  if (logits.length === 0) return { ids: new Uint32Array(0), logits: new Float32Array(0), logSumExp: -Infinity }
  const values = penalise(logits, vocabStart, history, sampling.repetitionPenalty)
  if (values.some(Number.isNaN)) throw new MeshError('backendFailed', { backend: 'compute', problem: 'a logit is not a number' })
  const indices = count === 1 ? [best(values)] : largest(values, Math.min(count, values.length))
  return {
    ids: Uint32Array.from(indices, (index) => index + vocabStart),
    logits: Float32Array.from(indices, (index) => values[index]),
    // the greedy choice needs no probabilities
    logSumExp: sampling.temperature === 0 ? 0 : logSumExp(values, values[indices[0]], sampling.temperature),
  }
}

interface Weighted {
  readonly id: number
  readonly logit: number
}

const merge = (ranks: readonly Candidates[]): Weighted[] =>
  ranks
    .flatMap(({ ids, logits }) => Array.from(ids, (id, index) => ({ id, logit: logits[index] })))
    .toSorted((a, b) => b.logit - a.logit || a.id - b.id)

const keepTopP = (probabilities: readonly number[], topP: number): number => {
  if (topP >= 1) return probabilities.length
  let sum = 0
  const last = probabilities.findIndex((probability) => (sum += probability) >= topP)
  return last < 0 ? probabilities.length : last + 1
}

/**
 * Draws one token.
 * @param ranks candidates of every rank
 * @param position index in the context that the token will have; with the seed it decides the random number
 */
export const sample = (ranks: readonly Candidates[], sampling: Sampling, position: number): { readonly id: number } => {
  const sorted = merge(ranks)
  if (sorted.length === 0) throw new MeshError('frameInvalid', { problem: 'no rank sent candidates' })
  const { temperature, topK, topP, minP, seed } = sampling
  if (temperature === 0) return { id: sorted[0].id }
  const top = sorted[0].logit
  const limited = topK > 0 ? sorted.slice(0, topK) : sorted
  const weights = limited.map(({ logit }) => Math.exp((logit - top) / temperature))
  const whole = topK > 0 ? weights.reduce((a, b) => a + b, 0) : ranks.reduce((sum, rank) => sum + Math.exp(rank.logSumExp - top / temperature), 0)
  const kept = keepTopP(weights.map((weight) => weight / whole), topP)
  const usable = weights.slice(0, kept).filter((weight) => weight >= minP)
  let left = uniformAt(seed, position) * usable.reduce((a, b) => a + b, 0)
  for (const [index, weight] of usable.entries()) {
    left -= weight
    if (left < 0) return { id: limited[index].id }
  }
  return { id: limited[usable.length - 1].id } // rounding left a rest
}
