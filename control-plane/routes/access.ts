/** Who sends a request, and whether they may: by the access that the route table declares. */
import type { FastifyRequest } from 'fastify'
import { headers, type RouteRecord } from '../../shared/api/routes.ts'
import { MeshError } from '../../shared/errors.ts'
import { verifyRequest } from '../../shared/identity/request-signature.ts'
import type { Services } from '../service/services.ts'

/** The sender of a request, as far as the route needs to know. */
export interface Caller {
  /** Empty on open routes. */
  readonly deviceId: string
  readonly isAdmin: boolean
}

const nobody: Caller = { deviceId: '', isAdmin: false }

/** @throws MeshError `signatureInvalid` | `clockSkew` | `replayed` | `deviceUnknown` | `notFound` | certificate errors | `notAdmin` */
export const authorise = (request: FastifyRequest, route: RouteRecord & { readonly registers?: boolean }, services: Services): Caller => {
  if (route.access === 'open') return nobody
  const deviceId = verifyRequest(request.headers, { method: request.method, path: request.url, body: request.rawBody ?? '' }, services.nonces, services.now())
  if (!route.registers && !services.devices.find(deviceId)) throw new MeshError('deviceUnknown')
  if (route.access === 'device') return { deviceId, isAdmin: false }

  const { poolId } = request.params as { poolId: string }
  if (!services.pools.find(poolId)) throw new MeshError('notFound', { what: 'pool', id: poolId })
  const text = request.headers[headers.certificate]
  if (typeof text !== 'string') throw new MeshError('notMember', { deviceId: deviceId.slice(0, 8), poolId: poolId.slice(0, 8) })
  const certificate = services.memberships.show(text, deviceId, poolId)
  if (route.access === 'admin' && certificate.role !== 'admin') throw new MeshError('notAdmin', { poolId: poolId.slice(0, 8) })
  return { deviceId, isAdmin: certificate.role === 'admin' }
}
