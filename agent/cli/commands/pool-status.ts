import { Type } from 'typebox'
import type { ControlPlanePin } from '../../../shared/identity/control-plane-pin.ts'
import { shortId } from '../../../shared/ids.ts'
import { Count, Hex64, Name } from '../../../shared/schema/common.ts'
import { Job } from '../../../shared/schema/job.ts'
import { LockView } from '../../../shared/schema/lock.ts'
import { Pool, type PoolPeer, Role } from '../../../shared/schema/pool.ts'
import { RingView } from '../../../shared/schema/ring.ts'
import { formatBytes } from '../../../shared/words.ts'
import { checkTerms, readersText, selectPool } from '../../device/pools.ts'
import { defineCommand } from '../command.ts'
import { pinOf } from '../pool-pin.ts'
import { ago, counted, fields, validity } from '../render.ts'
import { openSession } from '../session.ts'
import { notAfterOf } from './pool-list.ts'
import { leftOutText, sumsText } from './ring-status.ts'

const lockedText = ({ phase, memoryBytes, missingBytes }: LockView): string =>
  `${formatBytes(memoryBytes)} locked${phase === 'cooling' ? ', cooling down' : ''}${missingBytes > 0 ? `, degraded: ${formatBytes(missingBytes)} missing` : ''}`

/** Who asked for a job: a device, or an app by the key of one. */
const submitterOf = (
  { submittedBy, keyId }: Pick<Job, 'submittedBy' | 'keyId'>,
  peers: readonly Pick<PoolPeer, 'deviceId' | 'name'>[],
): string => {
  const name = peers.find(({ deviceId }) => deviceId === submittedBy)?.name ?? shortId(submittedBy)
  return keyId === undefined ? name : `an app of ${name} (key ${keyId})`
}

/** Who named the control plane of the pool. */
const signerText = ({ signedBy }: ControlPlanePin, peers: readonly Pick<PoolPeer, 'deviceId' | 'name'>[]): string =>
  signedBy === undefined
    ? 'the maker of the pool'
    : (peers.find(({ deviceId }) => deviceId === signedBy)?.name ?? shortId(signedBy))

const jobText = (job: Job & { readonly submitter: string }, now: number): string =>
  `${job.jobId}: ${job.submission.modelId}, by ${job.submitter}, ${ago(job.createdAt, now)}: ${job.state}, ${counted(job.answered ?? job.tokens.length, 'token')}${job.error ? ` (${job.error.message})` : ''}`

export const poolStatus = defineCommand({
  name: 'pool-status',
  summary: 'a pool at a glance: members, rings, recent jobs',
  options: ['poolId', 'controlPlane', 'controlPlaneKey', 'json'],
  examples: ['mesh pool-status', 'mesh pool-status --json'],
  json: Type.Object({
    pool: Pool,
    role: Role,
    notAfter: Count,
    controlPlaneKey: Type.Optional(Type.String({ description: 'of the control plane that its admins named' })),
    adminsReadText: Type.Boolean({ description: 'admins of the pool read prompts and answers of all' }),
    rings: Type.Array(RingView),
    jobs: Type.Array(Type.Object({ ...Job.properties, submitter: Type.String() })),
    locks: Type.Array(Type.Object({ deviceId: Hex64, name: Name, ...LockView.properties })),
  }),
  run: async (context, values) => {
    const { client } = openSession(context, values)
    const local = selectPool(context.home, values.poolId)
    const params = { poolId: local.poolId }
    const [pool, rings, found, peers] = await Promise.all([
      client.call('getPool', { params }),
      client.call('listRings', { params }),
      client.call('listJobs', { params, query: { limit: 5 } }),
      client.call('listPeers', { params }),
    ])
    const isForAdmins = checkTerms(local, pool)
    const pin = pinOf(context, local.poolId)
    const jobs = found.map((job) => ({ ...job, submitter: submitterOf(job, peers) }))
    if (values.json) {
      context.printJson({
        controlPlaneKey: pin?.controlPlaneId,
        pool,
        adminsReadText: isForAdmins,
        role: local.role,
        notAfter: notAfterOf(local, context.now()),
        rings,
        jobs,
        locks: peers.flatMap(({ deviceId, name, lock }) => (lock ? [{ deviceId, name, ...lock }] : [])),
      })
      return
    }
    context.stdout.write(
      fields(
        [
          ['pool', `${pool.name} (${shortId(pool.poolId)})`],
          ['role', `${local.role}, valid for ${validity(notAfterOf(local, context.now()), context.now())}`],
          ['text is for', readersText(isForAdmins)],
          ['members', `${pool.members}, ${pool.online} online`],
          [
            'control plane',
            pin
              ? `key ${shortId(pin.controlPlaneId)}, named by ${signerText(pin, peers)}`
              : 'not named yet: the agent of an admin does it (mesh start there)',
          ],
          ...(rings.length === 0 ? [['rings', 'none: mesh join-ring --model-id tiny-story'] as const] : []),
          ...rings.map((ring): [string, string] => [
            'ring',
            `${ring.modelId} ${ring.quant}: ${ring.status}, ${counted(ring.worldSize, 'worker')}${ring.reason ? ` (${ring.reason})` : ''}`,
          ]),
          ...rings.flatMap(({ modelId, members }) =>
            members.flatMap((member): [string, string][] => {
              const text = leftOutText(member, context.now())
              return text === undefined ? [] : [[modelId, `${member.name} is ${text}`]]
            }),
          ),
          ...rings.flatMap(({ members }) =>
            members.flatMap((member): [string, string][] => {
              const text = sumsText(member)
              return text === undefined ? [] : [['warning', text]]
            }),
          ),
          ...peers.flatMap(({ name, lock }): [string, string][] =>
            lock ? [['memory', `${name}: ${lockedText(lock)}`]] : [],
          ),
          ...jobs.map((job): [string, string] => ['job', jobText(job, context.now())]),
        ],
        context.stdout.columns,
      ),
    )
  },
})
