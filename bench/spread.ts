/** Repeated measurements, told as median, least and most. */
import type { Spread } from '../shared/schema/bench.ts'

export const spread = (values: readonly number[]): Spread => {
  const sorted = values.toSorted((a, b) => a - b)
  return { median: sorted[sorted.length >> 1], min: sorted[0], max: sorted[sorted.length - 1] }
}

export const show = ({ median, min, max }: Spread, digits = 1): string =>
  `${median.toFixed(digits)} (${min.toFixed(digits)} to ${max.toFixed(digits)})`
