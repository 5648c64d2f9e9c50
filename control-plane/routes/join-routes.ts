/** How a device becomes a member: it asks, an admin signs (by hand, or its agent for an invite), it fetches the certificate. */
import { MeshError } from '../../shared/errors.ts'
import type { JoinRequest } from '../../shared/schema/pool.ts'
import { limits } from '../../shared/limits.ts'
import { adminView, requestsFor, requestView } from '../service/join-requests.ts'
import type { Services } from '../service/services.ts'
import type { StoredPool } from '../store/pool-store.ts'
import type { Handlers } from './handler.ts'
import { needPool } from './pool-routes.ts'

export const joinRoutes = (
  services: Services,
): Pick<Handlers, 'requestJoin' | 'getJoin' | 'listJoins' | 'denyJoin' | 'publishCertificate'> => {
  const { pools, memberships, presence, now } = services
  /** Certificate on file, while it is valid. */
  const validCertificate = (pool: StoredPool, deviceId: string): string | undefined => {
    const text = pools.membership(pool.poolId, deviceId)?.certificate
    if (text === undefined) return undefined
    try {
      memberships.verify(pool, text)
      return text
    } catch {
      return undefined // expired, or the device was removed: a new request is in order
    }
  }
  const joinOf = (pool: StoredPool, deviceId: string): JoinRequest => {
    const request = pools.requestOf(pool.poolId, deviceId)
    if (request) return requestView(request)
    const certificate = validCertificate(pool, deviceId)
    if (certificate === undefined) throw new MeshError('notFound', { what: 'join request for pool', id: pool.poolId })
    return {
      poolId: pool.poolId,
      deviceId,
      name: services.devices.find(deviceId)?.name ?? '',
      createdAt: now(),
      status: 'approved',
      certificate,
    }
  }
  const tellAdmins = (poolId: string, deviceId: string): void => {
    const request = pools.requestOf(poolId, deviceId)
    if (request)
      for (const admin of presence.admins(poolId, now()))
        admin.socket.send({ type: 'join-request', poolId, request: adminView(request) })
  }
  return {
    requestJoin: ({ caller, params, body }) => {
      const pool = needPool(services, params.poolId)
      if (pool.rootPublicKey !== body.rootPublicKey) throw new MeshError('poolKeyMismatch', { poolId: params.poolId })
      services.pins.checkServed(pool)
      if (validCertificate(pool, caller.deviceId) === undefined) {
        const isKnown = pools.requestOf(pool.poolId, caller.deviceId) !== undefined
        if (!isKnown && pools.countRequests(pool.poolId) >= limits.joinRequests)
          throw new MeshError('overloaded', {
            what: 'the list of join requests of this pool',
            limit: limits.joinRequests,
          })
        pools.request(pool.poolId, caller.deviceId, { invite: body.invite, now: now() })
        tellAdmins(pool.poolId, caller.deviceId)
      }
      return joinOf(pool, caller.deviceId)
    },
    getJoin: ({ caller, params }) => joinOf(needPool(services, params.poolId), caller.deviceId),
    listJoins: ({ params }) => requestsFor(pools, params.poolId),
    denyJoin: ({ params, body }) => {
      if (!pools.deny(params.poolId, body.deviceId, body.error))
        throw new MeshError('notFound', { what: 'join request of device', id: body.deviceId })
      return { ok: true }
    },
    publishCertificate: ({ params, body }) => {
      const pool = needPool(services, params.poolId)
      const certificate = memberships.verify(pool, body.certificate)
      pools.publish(body.certificate, certificate)
      presence.admit(certificate)
      presence
        .find(certificate.deviceId)
        ?.socket.send({ type: 'certificate', poolId: pool.poolId, certificate: body.certificate })
      services.rings.refresh(certificate.deviceId) // a ring may have waited for the renewal
      return { ok: true }
    },
  }
}
