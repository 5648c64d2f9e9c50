/** A pool at a glance, as people read it. */
import type { ControlPlanePin } from '../../shared/identity/control-plane-pin.ts'
import { shortId } from '../../shared/ids.ts'
import type { Job } from '../../shared/schema/job.ts'
import type { LockView } from '../../shared/schema/lock.ts'
import type { Pool, PoolPeer, Role } from '../../shared/schema/pool.ts'
import type { RingView } from '../../shared/schema/ring.ts'
import { formatBytes } from '../../shared/words.ts'
import { readersText } from '../device/pools.ts'
import { ago, counted, validity } from './render.ts'
import { leftOutText, sumsText } from './ring-view.ts'

type Row = readonly [label: string, text: string]
type Named = readonly Pick<PoolPeer, 'deviceId' | 'name'>[]

export interface PoolGlance {
  readonly pool: Pool
  readonly role: Role
  /** When the membership ends. */
  readonly notAfter: number
  readonly adminsReadText: boolean
  readonly pin: ControlPlanePin | undefined
  readonly rings: readonly RingView[]
  readonly peers: readonly PoolPeer[]
  readonly jobs: readonly (Job & { readonly submitter: string })[]
}

const lockedText = ({ phase, memoryBytes, missingBytes }: LockView): string => {
  const cooling = phase === 'cooling' ? ', cooling down' : ''
  const degraded = missingBytes > 0 ? `, degraded: ${formatBytes(missingBytes)} missing` : ''
  return `${formatBytes(memoryBytes)} locked${cooling}${degraded}`
}

const nameIn = (peers: Named, id: string): string => peers.find(({ deviceId }) => deviceId === id)?.name ?? shortId(id)

/** Who asked for a job: a device, or an app by the key of one. */
export const submitterOf = ({ submittedBy, keyId }: Pick<Job, 'submittedBy' | 'keyId'>, peers: Named): string => {
  const name = nameIn(peers, submittedBy)
  return keyId === undefined ? name : `an app of ${name} (key ${keyId})`
}

/** Which control plane the admins named, and who of them. */
const pinText = (pin: ControlPlanePin | undefined, peers: Named): string => {
  if (pin === undefined) return 'not named yet: the agent of an admin does it (mesh start there)'
  const signer = pin.signedBy === undefined ? 'the maker of the pool' : nameIn(peers, pin.signedBy)
  return `key ${shortId(pin.controlPlaneId)}, named by ${signer}`
}

const jobText = (job: PoolGlance['jobs'][number], now: number): string => {
  const written = counted(job.answered ?? job.tokens.length, 'token')
  const failure = job.error ? ` (${job.error.message})` : ''
  const what = `${job.submission.modelId}, by ${job.submitter}, ${ago(job.createdAt, now)}`
  return `${job.jobId}: ${what}: ${job.state}, ${written}${failure}`
}

const ringText = ({ modelId, quant, status, worldSize, reason }: RingView): string =>
  `${modelId} ${quant}: ${status}, ${counted(worldSize, 'worker')}${reason ? ` (${reason})` : ''}`

/** A row for each member of whom there is something to say. */
const memberRows = (
  rings: readonly RingView[],
  rowOf: (ring: RingView, member: RingView['members'][number]) => Row | undefined,
): Row[] =>
  rings.flatMap((ring) => ring.members.map((member) => rowOf(ring, member))).filter((row) => row !== undefined)

/** Rows for `fields`. */
export const poolRows = ({ pool, role, notAfter, rings, peers, jobs, ...rest }: PoolGlance, now: number): Row[] => [
  ['pool', `${pool.name} (${shortId(pool.poolId)})`],
  ['role', `${role}, valid for ${validity(notAfter, now)}`],
  ['text is for', readersText(rest.adminsReadText)],
  ['members', `${pool.members}, ${pool.online} online`],
  ['control plane', pinText(rest.pin, peers)],
  ...(rings.length === 0 ? [['rings', 'none: mesh join-ring --model-id tiny-story'] as const] : []),
  ...rings.map((ring): Row => ['ring', ringText(ring)]),
  ...memberRows(rings, ({ modelId }, member) => {
    const text = leftOutText(member, now)
    return text === undefined ? undefined : [modelId, `${member.name} is ${text}`]
  }),
  ...memberRows(rings, (_, member) => {
    const text = sumsText(member)
    return text === undefined ? undefined : ['warning', text]
  }),
  ...peers.flatMap(({ name, lock }): Row[] => (lock ? [['memory', `${name}: ${lockedText(lock)}`]] : [])),
  ...jobs.map((job): Row => ['job', jobText(job, now)]),
]
