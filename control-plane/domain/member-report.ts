/** What a member says of its ring: whether it counts, and whether anything follows from it. */
import type { Loading } from '../../shared/schema/ring.ts'
import type { MemberReport } from './ring-formation.ts'

/** A report as far as it matters whether it is news. */
export type Heard = Pick<MemberReport, 'state'> & { readonly loading?: Loading }

/** What is known of who reports. */
export interface Reporter {
  /** It is part of the epoch that is there. */
  readonly isMember: boolean
  /** It wants to serve. */
  readonly isServing: boolean
  readonly isOfEpoch: boolean
  /** What it said before of that epoch. */
  readonly before?: Heard
}

/** `left`: it is told that it left while it was away. `ignore`: of another epoch, or it takes back that it is ready. */
export const reactionToReport = (
  report: Heard,
  { isMember, isServing, isOfEpoch, before }: Reporter,
): 'left' | 'ignore' | 'take' => {
  if (!isMember && !isServing) return 'left'
  if (!isMember || !isOfEpoch) return 'ignore'
  // what is ready stays so, or fails
  return before?.state === 'ready' && report.state === 'loading' ? 'ignore' : 'take'
}

/** Whether a report may change what becomes of the ring: that it got on with the same does not. */
export const isNews = (report: Heard, before: Heard | undefined): boolean => {
  const isMoreOfTheSame =
    report.state === 'loading' && before?.state === 'loading' && report.loading?.phase === before.loading?.phase
  return !isMoreOfTheSame || report.loading?.missing?.length !== before.loading?.missing?.length
}
