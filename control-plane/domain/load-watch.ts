/**
 * Whether a member gets on with loading: as long as what it reports moves, it may take as long as it takes. What
 * counts is what it never reported before, so that a member that goes back and forth gains nothing.
 */
import type { Loading, LoadPhase } from '../../shared/schema/ring.ts'

export interface LoadWatch {
  /** When it got on for the last time. */
  readonly at: number
  readonly phase?: LoadPhase
  readonly bytes: number
  readonly totalBytes: number
  /** How often it began something else. */
  readonly begun: number
}

/**
 * Times that a member may begin something else within one epoch: each phase, what the epoch before it still loads, and
 * all of it again after a restart of its agent.
 */
const mostBegun = 20
/** What counts as getting on: less than that within the time is a disk that hangs, or a member that plays for time. */
const leastBytes = 2 ** 20
const leastPart = 1 / 1000

export const watchFrom = (now: number): LoadWatch => ({ at: now, bytes: 0, totalBytes: 0, begun: 0 })

/** After another report; without bytes nothing moved. */
export const watched = (watch: LoadWatch, loading: Loading | undefined, now: number): LoadWatch => {
  if (!loading) return watch
  const { phase, bytes, totalBytes } = loading
  if (phase !== watch.phase || totalBytes !== watch.totalBytes)
    return begunAnew({ ...watch, phase, bytes, totalBytes }, now)
  const got = bytes - watch.bytes
  return got > 0 && got >= Math.min(leastBytes, totalBytes * leastPart) ? { ...watch, bytes, at: now } : watch
}

/** It began something else, or its agent came back and begins again. */
export const begunAnew = (watch: LoadWatch, now: number): LoadWatch => ({
  ...watch,
  begun: watch.begun + 1,
  at: watch.begun < mostBegun ? now : watch.at,
})
