import { Type } from 'typebox'
import { Count, Hex64, Name } from '../../../shared/schema/common.ts'
import { Job } from '../../../shared/schema/job.ts'
import { LockView } from '../../../shared/schema/lock.ts'
import { Pool, Role } from '../../../shared/schema/pool.ts'
import { RingView } from '../../../shared/schema/ring.ts'
import { checkTerms, selectPool } from '../../device/pools.ts'
import { defineCommand } from '../command.ts'
import { pinOf } from '../pool-pin.ts'
import { poolRows, submitterOf } from '../pool-view.ts'
import { fields } from '../render.ts'
import { openSession } from '../session.ts'
import { notAfterOf } from './pool-list.ts'

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
    const now = context.now()
    const { role } = local
    const adminsReadText = checkTerms(local, pool)
    const pin = pinOf(context, local.poolId)
    const notAfter = notAfterOf(local, now)
    const jobs = found.map((job) => ({ ...job, submitter: submitterOf(job, peers) }))
    if (values.json) {
      const controlPlaneKey = pin?.controlPlaneId
      const locks = peers.flatMap(({ deviceId, name, lock }) => (lock ? [{ deviceId, name, ...lock }] : []))
      context.printJson({ controlPlaneKey, pool, adminsReadText, role, notAfter, rings, jobs, locks })
      return
    }
    const rows = poolRows({ pool, role, notAfter, adminsReadText, pin, rings, peers, jobs }, now)
    context.stdout.write(fields(rows, context.stdout.columns))
  },
})
