/** One bar for all phases of loading: where each begins and ends on it, by about how long it takes. */
import type { Loading, LoadPhase } from '../../shared/schema/ring.ts'

const places: Readonly<Record<LoadPhase, readonly [from: number, to: number]>> = {
  checking: [0, 0.2],
  cutting: [0.2, 0.7],
  quantising: [0.2, 0.7],
  hashing: [0.7, 0.75],
  loading: [0.75, 1],
  linking: [1, 1],
}

/** 0 to 1 */
export const fractionOf = ({ phase, bytes, totalBytes }: Loading): number => {
  const [from, to] = places[phase]
  return from + (to - from) * (totalBytes > 0 ? Math.min(1, bytes / totalBytes) : 1)
}
