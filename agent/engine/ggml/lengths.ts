/** How many rows of a cache a graph reads. */
import type { Span } from '../backend.ts'

/**
 * Cache rows that attention reads are rounded up to this, so that a graph serves many steps: of written tokens. Those
 * of a prompt are built for one step anyway, and attend to as little as ggml's tiles allow.
 */
const lengthBucket = 256
const promptBucket = 64
/** Rows of one sequence that are a prompt. */
const promptRows = 64

export const bucketedLength = ({ position, count }: Span): number => {
  const bucket = count < promptRows ? lengthBucket : promptBucket
  return Math.ceil((position + count) / bucket) * bucket
}
