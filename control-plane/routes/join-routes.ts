/** How a device becomes a member: it asks, an admin's agent signs, it fetches the certificate. */
import { MeshError } from '../../shared/errors.ts'
import { verifyCertificate } from '../../shared/identity/pool-certificate.ts'
import type { JoinRequest } from '../../shared/schema/pool.ts'
import { pending, requestsFor } from '../service/join-requests.ts'
import type { Services } from '../service/services.ts'
import type { StoredPool } from '../store/pool-store.ts'
import type { Handlers } from './handler.ts'
import { needPool } from './pool-routes.ts'

export const joinRoutes = (services: Services): Pick<Handlers, 'requestJoin' | 'getJoin' | 'listJoins' | 'publishCertificate'> => {
  const { pools, presence, now } = services
  /** Certificate on file, while it is valid. */
  const validCertificate = (pool: StoredPool, deviceId: string): string | undefined => {
    const text = pools.membership(pool.poolId, deviceId)?.certificate
    if (text === undefined) return undefined
    try {
      verifyCertificate(text, Buffer.from(pool.rootPublicKey, 'hex'), now())
      return text
    } catch {
      return undefined // expired: a new request is in order
    }
  }
  const joinOf = (pool: StoredPool, deviceId: string): JoinRequest => {
    const request = pools.requests(pool.poolId).find((one) => one.deviceId === deviceId)
    if (request) return pending(request)
    const certificate = validCertificate(pool, deviceId)
    if (certificate === undefined) throw new MeshError('notFound', { what: 'join request for pool', id: pool.poolId })
    return { poolId: pool.poolId, deviceId, name: services.devices.find(deviceId)?.name ?? '', createdAt: now(), status: 'approved', certificate }
  }
  return {
    requestJoin: ({ caller, params, body }) => {
      const pool = needPool(services, params.poolId)
      if (pool.rootPublicKey !== body.rootPublicKey) throw new MeshError('poolKeyMismatch', { poolId: params.poolId })
      if (validCertificate(pool, caller.deviceId) === undefined) {
        pools.request(pool.poolId, caller.deviceId, now())
        const request = joinOf(pool, caller.deviceId)
        for (const admin of presence.admins(pool.poolId, now())) admin.socket.send({ type: 'join-request', poolId: pool.poolId, request })
      }
      return joinOf(pool, caller.deviceId)
    },
    getJoin: ({ caller, params }) => joinOf(needPool(services, params.poolId), caller.deviceId),
    listJoins: ({ params }) => requestsFor(pools, params.poolId),
    publishCertificate: ({ params, body }) => {
      const pool = needPool(services, params.poolId)
      const certificate = verifyCertificate(body.certificate, Buffer.from(pool.rootPublicKey, 'hex'), now())
      pools.publish(body.certificate, certificate)
      presence.admit(certificate)
      services.rings.refresh(certificate.deviceId) // a ring may have waited for the renewal
      return { ok: true }
    },
  }
}
