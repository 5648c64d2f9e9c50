/** How many threads a rank has work for. */
import { heldWork } from '../../shared/plan/shard-plan.ts'
import type { ModelShape } from '../../shared/schema/model.ts'
import type { RankRanges } from '../../shared/schema/ring.ts'

/**
 * Weights of a half layer that keep one thread busy for about 25 us at one token, the time of five operations at whose
 * ends the threads wait for each other. With fewer for each the waiting eats what a second thread brings: the bundled
 * model of 0.4 million a half layer writes 480 tokens a second with one thread and 420 with two.
 */
const weightsPerThread = 500_000

/** @returns 1 at least */
export const wantedThreads = (shape: ModelShape, ranges: RankRanges): number => {
  return Math.max(1, Math.floor(heldWork(shape, ranges) / (2 * shape.layers) / weightsPerThread))
}
