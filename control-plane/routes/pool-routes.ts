import { MeshError } from '../../shared/errors.ts'
import { poolIdOf, verifyCertificate } from '../../shared/identity/pool-certificate.ts'
import type { JoinRequest, Pool, PoolPeer } from '../../shared/schema/pool.ts'
import { pending, requestsFor } from '../service/join-requests.ts'
import type { Services } from '../service/services.ts'
import type { StoredPool } from '../store/pool-store.ts'
import type { Handlers } from './handler.ts'

const bytes = (hex: string): Uint8Array => Buffer.from(hex, 'hex')

type PoolHandlers = Pick<Handlers, 'createPool' | 'getPool' | 'listPools' | 'listPeers' | 'requestJoin' | 'getJoin' | 'listJoins' | 'publishCertificate'>

export const poolRoutes = ({ pools, presence, now }: Services): PoolHandlers => {
  const viewOf = (pool: StoredPool): Pool => {
    const members = pools.members(pool.poolId)
    return { ...pool, members: members.length, online: members.filter(({ deviceId }) => presence.isOnline(deviceId)).length }
  }
  const need = (poolId: string): StoredPool => {
    const pool = pools.find(poolId)
    if (!pool) throw new MeshError('notFound', { what: 'pool', id: poolId })
    return pool
  }
  /** Certificate on file, while it is valid. */
  const validCertificate = (pool: StoredPool, deviceId: string): string | undefined => {
    const text = pools.certificateOf(pool.poolId, deviceId)
    if (text === undefined) return undefined
    try {
      verifyCertificate(text, bytes(pool.rootPublicKey), now())
      return text
    } catch {
      return undefined // expired: a new request is in order
    }
  }
  const joinOf = (pool: StoredPool, deviceId: string): JoinRequest => {
    const certificate = validCertificate(pool, deviceId)
    const request = pools.requests(pool.poolId).find((one) => one.deviceId === deviceId)
    if (certificate !== undefined && !request) return { poolId: pool.poolId, deviceId, name: '', createdAt: now(), status: 'approved', certificate }
    if (!request) throw new MeshError('notFound', { what: 'join request for pool', id: pool.poolId })
    return pending(request)
  }

  return {
    createPool: ({ caller, body }) => {
      const root = bytes(body.rootPublicKey)
      if (poolIdOf(root) !== body.poolId) throw new MeshError('poolKeyMismatch', { poolId: body.poolId })
      const certificate = verifyCertificate(body.certificate, root, now())
      if (certificate.deviceId !== caller.deviceId) throw new MeshError('certificateInvalid', { problem: 'it belongs to another device' })
      if (certificate.role !== 'admin') throw new MeshError('notAdmin', { poolId: body.poolId.slice(0, 8) })
      pools.create(body, certificate, now())
      presence.find(caller.deviceId)?.pools.set(body.poolId, 'admin')
      return viewOf(need(body.poolId))
    },
    getPool: ({ params }) => viewOf(need(params.poolId)),
    listPools: ({ caller }) => pools.ofDevice(caller.deviceId).map(viewOf),
    listPeers: ({ params }) =>
      pools.members(params.poolId).map(({ deviceId, name, role, notAfter, lastSeenAt }): PoolPeer => {
        const agent = presence.find(deviceId)
        return { deviceId, name, role, notAfter, online: agent !== undefined, lastSeenAt: agent?.lastSeenAt ?? lastSeenAt, addresses: [...(agent?.addresses ?? [])], ...(agent ? { peerId: agent.peerId } : {}) }
      }),
    requestJoin: ({ caller, params, body }) => {
      const pool = need(params.poolId)
      if (pool.rootPublicKey !== body.rootPublicKey) throw new MeshError('poolKeyMismatch', { poolId: params.poolId })
      if (validCertificate(pool, caller.deviceId) === undefined) {
        pools.request(pool.poolId, caller.deviceId, now())
        const request = joinOf(pool, caller.deviceId)
        for (const admin of presence.admins(pool.poolId)) admin.socket.send({ type: 'join-request', poolId: pool.poolId, request })
      }
      return joinOf(pool, caller.deviceId)
    },
    getJoin: ({ caller, params }) => joinOf(need(params.poolId), caller.deviceId),
    listJoins: ({ params }) => requestsFor(pools, params.poolId),
    publishCertificate: ({ params, body }) => {
      const pool = need(params.poolId)
      const certificate = verifyCertificate(body.certificate, bytes(pool.rootPublicKey), now())
      pools.publish(body.certificate, certificate)
      return { ok: true }
    },
  }
}
