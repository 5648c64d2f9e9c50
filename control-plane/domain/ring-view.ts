/** What `mesh ring-status` shows of a ring. */
import { MeshError } from '../../shared/errors.ts'
import { shortId } from '../../shared/ids.ts'
import type { LeftOut } from './ring-health.ts'
import { neighbours } from './neighbours.ts'
import type { ErrorReportJson } from '../../shared/schema/common.ts'
import type { ModelManifest, Quant } from '../../shared/schema/model.ts'
import type { Loading, RingMember, RingNetwork, RingStatus, RingView } from '../../shared/schema/ring.ts'

/** What is stored of a ring. */
export interface RingRecord {
  readonly ringId: string
  readonly poolId: string
  readonly modelId: string
  readonly quant: Quant
  readonly model: ModelManifest
  readonly epoch: number
  readonly members: readonly RingMember[]
  readonly updatedAt: number
}

export interface KnownRing {
  readonly ring: RingRecord
  readonly status: RingStatus
  readonly reason: string
  readonly intents: readonly {
    readonly deviceId: string
    readonly name: string
    readonly share: number
    readonly online: boolean
    readonly isMember: boolean
    readonly noRoom?: MeshError
    readonly leftOut?: LeftOut
  }[]
  readonly reports: ReadonlyMap<
    string,
    {
      readonly state: 'waiting' | 'loading' | 'ready' | 'failed'
      readonly progress: number
      readonly loading?: Loading
      readonly error?: ErrorReportJson
      readonly network?: RingNetwork
      readonly sealingKey?: string
    }
  >
  /** The newest certificate of a member. */
  certificateOf(deviceId: string): string | undefined
}

type MemberView = RingView['members'][number]

/** A member that the others go on without; while it is tried, how that goes. */
const leftOutView = ({
  since,
  until,
  error,
  trial,
}: LeftOut): Pick<MemberView, 'state' | 'progress' | 'loading' | 'error' | 'leftOut'> => ({
  state: trial ? 'loading' : 'failed',
  progress: trial?.progress ?? 0,
  ...(trial?.loading ? { loading: trial.loading } : {}),
  ...(error ? { error } : {}),
  leftOut: { since, retryAt: until },
})

/** The key that prompts may be sealed with, where rank 0 is there to open them. */
const sealingOf = ({ ring, status, reports, certificateOf }: KnownRing): Pick<RingView, 'sealing'> => {
  const leader = ring.members.find(({ rank }) => rank === 0)?.deviceId ?? ''
  const [key, certificate] = [reports.get(leader)?.sealingKey, certificateOf(leader)]
  return status === 'active' && key !== undefined && certificate !== undefined ? { sealing: { key, certificate } } : {}
}

export const viewOf = (known: KnownRing): RingView => {
  const { ring, status, reason, intents, reports } = known
  const members = intents.map(({ deviceId, name, share, online, isMember, noRoom, leftOut }): MemberView => {
    const member = ring.members.find((one) => one.deviceId === deviceId)
    if (leftOut?.error && online && isMember && noRoom === undefined)
      return { deviceId, name, share, ...leftOutView(leftOut) }
    const report = leftOut?.trial ?? (member && reports.get(deviceId))
    const state = !online ? 'offline' : !isMember || noRoom !== undefined ? 'failed' : (report?.state ?? 'waiting')
    const error =
      state !== 'failed'
        ? undefined
        : isMember
          ? (noRoom?.toReport() ?? report?.error)
          : new MeshError('notMember', { deviceId: shortId(deviceId), poolId: shortId(ring.poolId) }).toReport()
    return {
      deviceId,
      name,
      share,
      state,
      progress: state === 'offline' ? 0 : (report?.progress ?? 0),
      ...(state === 'loading' && report?.loading ? { loading: report.loading } : {}),
      ...(error ? { error } : {}),
      ...(member ? { rank: member.rank, ranges: member.ranges, ...neighbours(ring.members, member.rank) } : {}),
    }
  })
  const leader = ring.members.find(({ rank }) => rank === 0)
  const network = leader && reports.get(leader.deviceId)?.network
  return {
    ringId: ring.ringId,
    poolId: ring.poolId,
    modelId: ring.modelId,
    revision: ring.model.revision,
    quant: ring.quant,
    epoch: ring.epoch,
    status,
    reason,
    worldSize: ring.members.length,
    members: members.toSorted((a, b) => (a.rank ?? Infinity) - (b.rank ?? Infinity)),
    ...(network ? { network } : {}),
    ...sealingOf(known),
    updatedAt: ring.updatedAt,
  }
}
