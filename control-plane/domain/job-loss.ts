/** Why a running job will fail when a member of its ring went away or gave the epoch up, and how long that has. */
import { MeshError } from '../../shared/errors.ts'
import { reportedBy } from '../../shared/peer-report.ts'
import type { ErrorReportJson } from '../../shared/schema/common.ts'

/** A member of the ring that runs the job. */
interface Member {
  readonly deviceId: string
  readonly name: string
  readonly rank: number
}

/** A job that runs, as far as losses matter. */
export interface Bereaved {
  readonly leader: string
  readonly leaderName: string
  /** The device whose loss is to end it already. */
  readonly awaited?: string
}

export interface LossSettings {
  /** How long a leader may be away. */
  readonly graceMs: number
  /** How long rank 0 may take to report a job that lost another rank. */
  readonly reportMs: number
}

export interface Loss {
  readonly afterMs: number
  readonly error: MeshError
}

/** Milliseconds in which a leader that is there says something of its job. */
const leaderWordMs = 1000

/** An agent went away. @param members of the ring that runs the job */
export const lossOf = (
  deviceId: string,
  { leader, leaderName, awaited }: Bereaved,
  members: readonly Member[],
  { graceMs, reportMs }: LossSettings,
): Loss | undefined => {
  if (leader === deviceId) return { afterMs: graceMs, error: new MeshError('jobLost', { peer: leaderName }) }
  const member = members.find((one) => one.deviceId === deviceId)
  // the loss of the leader is the nearer end
  if (!member || awaited === leader) return undefined
  const { name, rank } = member
  return { afterMs: reportMs, error: new MeshError('peerLost', { peer: name, rank, problem: 'its agent went away' }) }
}

/**
 * A rank gave the epoch up. A leader that is there ends its job or goes on with it; of one that sleeps, or whose
 * process stands still, nothing more comes, and its lease would end much later.
 */
export const failureOf = (
  deviceId: string,
  { leader, awaited }: Bereaved,
  members: readonly Member[],
  error: ErrorReportJson | undefined,
): Loss | undefined => {
  const member = members.find((one) => one.deviceId === deviceId)
  if (!member || !error || leader === deviceId || awaited === leader) return undefined
  return { afterMs: leaderWordMs, error: reportedBy(member, error) }
}
