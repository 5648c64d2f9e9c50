import { MeshError } from '../../shared/errors.ts'
import { shortId } from '../../shared/ids.ts'
import { readCharter } from '../../shared/identity/pool-charter.ts'
import { checkOwner, poolIdOf } from '../../shared/identity/pool-certificate.ts'
import type { Pool, PoolPeer } from '../../shared/schema/pool.ts'
import type { Services } from '../service/services.ts'
import type { StoredPool } from '../store/pool-store.ts'
import type { Handlers } from './handler.ts'

/** @throws MeshError `notFound` */
export const needPool = ({ pools }: Pick<Services, 'pools'>, poolId: string): StoredPool => {
  const pool = pools.find(poolId)
  if (!pool) throw new MeshError('notFound', { what: 'pool', id: poolId })
  return pool
}

export const poolRoutes = (
  services: Services,
): Pick<
  Handlers,
  | 'createPool'
  | 'getPool'
  | 'getCharter'
  | 'listPools'
  | 'listPeers'
  | 'getRevocations'
  | 'publishRevocations'
  | 'getPin'
  | 'publishPin'
> => {
  const { pools, memberships, pins, removals, presence, locks, now } = services
  const viewOf = ({ charter, ...pool }: StoredPool): Pool => {
    const members = pools.members(pool.poolId)
    return {
      ...pool,
      ...(charter === null ? {} : { charter }),
      members: members.length,
      online: members.filter(({ deviceId }) => presence.isOnline(deviceId)).length,
    }
  }
  return {
    createPool: ({ caller, body }) => {
      const root = Buffer.from(body.rootPublicKey, 'hex')
      if (poolIdOf(root) !== body.poolId) throw new MeshError('poolKeyMismatch', { poolId: body.poolId })
      readCharter(body.charter, root)
      const certificate = memberships.verify({ ...body, charter: null, createdAt: 0 }, body.certificate)
      checkOwner(certificate, caller.deviceId)
      if (certificate.role !== 'admin') throw new MeshError('notAdmin', { poolId: shortId(body.poolId) })
      pools.create(body, certificate, now())
      presence.admit(certificate)
      return viewOf(needPool(services, body.poolId))
    },
    getCharter: ({ params }) => ({ charter: needPool(services, params.poolId).charter ?? undefined }),
    getPool: ({ params }) => viewOf(needPool(services, params.poolId)),
    listPools: ({ caller }) => pools.ofDevice(caller.deviceId).map(viewOf),
    listPeers: ({ params }) =>
      pools.members(params.poolId).map(({ deviceId, name, role, notAfter, lastSeenAt, certificate }): PoolPeer => {
        const agent = presence.find(deviceId)
        const lock = locks.view(deviceId)
        return {
          deviceId,
          name,
          role,
          notAfter,
          certificate,
          online: agent !== undefined,
          lastSeenAt: agent?.lastSeenAt ?? lastSeenAt,
          addresses: [...(agent?.addresses ?? [])],
          ...(agent ? { peerId: agent.peerId } : {}),
          ...(lock ? { lock } : {}),
        }
      }),
    getRevocations: ({ params }) => ({ list: memberships.revocations(needPool(services, params.poolId))?.text }),
    publishRevocations: ({ params, body }) => {
      if (!removals.publish(needPool(services, params.poolId), body.list))
        throw new MeshError('revocationsInvalid', { problem: 'the control plane holds a newer one' })
      return { ok: true }
    },
    getPin: ({ params }) => ({ pin: pins.pinOf(needPool(services, params.poolId))?.text }),
    publishPin: ({ params, body }) => {
      if (!pins.publish(needPool(services, params.poolId), body.pin))
        throw new MeshError('pinInvalid', { problem: 'the control plane holds a newer one' })
      return { ok: true }
    },
  }
}
