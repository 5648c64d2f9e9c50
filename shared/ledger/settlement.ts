/**
 * What a job costs and who earns it: whole numbers only, so that what is paid is what is earned, to the last credit.
 *
 * price = matrix weights of the model x tokens, in millions, rounded up. It is dealt out over the ranks in proportion
 * to shard x tokens x pace. Pace is the measured service rate against the one that the plan counted on: shards are cut
 * so that all ranks compute equally long, hence a rank that took longer than the middle one held the others up, and
 * counts for less. It never counts for more than its shard: a rank that waits for others does no work.
 */
import { limits } from '../limits.ts'

/** Multiply-adds in one credit. */
export const creditWeights = 1_000_000
/** Pace of a rank that was as fast as the plan counted on; a slower one has less, but half of it at least. */
const fullPace = 1024
const leastPace = fullPace / 2

/** What one rank did; all whole numbers. */
export interface RankWork {
  /** Matrix weights of its shard. */
  readonly weights: number
  readonly tokens: number
  /** Microseconds; 0 when nobody measured. */
  readonly computeUs: number
}

/** Credits that a job costs. @param modelWeights matrix weights of the whole model */
export const priceOf = (modelWeights: number, tokens: number): number => {
  const exact = (BigInt(modelWeights) * BigInt(tokens) + BigInt(creditWeights - 1)) / BigInt(creditWeights)
  return exact > BigInt(limits.jobCredits) ? limits.jobCredits : Number(exact)
}

/**
 * Deals out `units` in proportion to `weights` by the largest-remainder method, exactly; ties go to the lower index.
 * @returns whole numbers that sum to `units`; all of it for the first where no weight is above zero
 */
export const dealOut = (units: number, weights: readonly bigint[]): number[] => {
  const total = weights.reduce((sum, weight) => sum + weight, 0n)
  if (total === 0n) return weights.map((_, index) => (index === 0 ? units : 0))
  const parts = weights.map((weight, index) => ({
    index,
    whole: Number((BigInt(units) * weight) / total),
    rest: (BigInt(units) * weight) % total,
  }))
  let left = units - parts.reduce((sum, { whole }) => sum + whole, 0)
  const amounts = parts.map(({ whole }) => whole)
  for (const { index } of parts.toSorted((a, b) =>
    a.rest === b.rest ? a.index - b.index : a.rest > b.rest ? -1 : 1,
  )) {
    if (left-- <= 0) break
    amounts[index]++
  }
  return amounts
}

/** The middle of the measured times, rounded down; 0 when fewer than two ranks measured. */
const middleOf = (work: readonly RankWork[]): number => {
  const times = work
    .map(({ computeUs }) => computeUs)
    .filter((time) => time > 0)
    .toSorted((a, b) => a - b)
  if (times.length < 2) return 0
  const [low, high] = [times[(times.length - 1) >> 1], times[times.length >> 1]]
  return low + Math.floor((high - low) / 2)
}

const paceOf = (computeUs: number, middle: number): number =>
  computeUs === 0 || middle === 0 || computeUs <= middle
    ? fullPace
    : Math.max(leastPace, Number((BigInt(fullPace) * BigInt(middle)) / BigInt(computeUs)))

/**
 * Credits that each rank earns.
 * @param tokens of the job: what a rank says beyond them does not count
 * @returns one amount per rank, which sum to `price`
 */
export const earningsOf = (price: number, tokens: number, work: readonly RankWork[]): number[] => {
  const middle = middleOf(work)
  const weights = work.map(
    (one) => BigInt(one.weights) * BigInt(Math.min(one.tokens, tokens)) * BigInt(paceOf(one.computeUs, middle)),
  )
  // nobody claims a token: the plan alone decides
  return dealOut(price, weights.some((weight) => weight > 0n) ? weights : work.map((one) => BigInt(one.weights)))
}
