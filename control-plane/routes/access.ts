/** Who sends a request, and whether they may: by the access that the route table declares. */
import type { FastifyRequest } from 'fastify'
import { headers } from '../../shared/headers.ts'
import type { RouteRecord } from '../../shared/api/routes.ts'
import { MeshError } from '../../shared/errors.ts'
import { shortId } from '../../shared/ids.ts'
import { checkBody, verifyRequest } from '../../shared/identity/request-signature.ts'
import type { Services } from '../service/services.ts'
import { checkLength } from './body.ts'

/** The sender of a request, as far as the route needs to know. */
export interface Caller {
  /** Empty on open routes; of an app the device that made its key. */
  readonly deviceId: string
  /** Where the request came from. */
  readonly address: string
  readonly isAdmin: boolean
  /** The API key that the request came with, if it did: it opens nothing but the jobs submitted with it. */
  readonly keyId?: string
}

/** A route as access to it is decided: one of them makes a device known. */
export type Route = RouteRecord & { readonly registers?: boolean }

const nobody = { deviceId: '', isAdmin: false } as const

/** The key of an `Authorization: Bearer` header. Where a request is signed too, the signature tells who sends it. */
const keyOf = ({ headers: sent }: FastifyRequest): string | undefined =>
  sent[headers.signature] === undefined ? /^bearer +(.*)$/i.exec(sent[headers.key] ?? '')?.[1].trim() : undefined

/**
 * The app behind a request that shows an API key; `undefined` when it shows none.
 * @throws MeshError `keyNotAccepted` | `keyInvalid` | `keyAttempts` | `keyRevoked` | `keyExpired` | `keyMakerGone` |
 * `keyOtherPool` | `poolMoved`
 */
const authoriseKey = (
  request: FastifyRequest,
  route: RouteRecord,
  { keys, poolStore, pins }: Services,
): Caller | undefined => {
  const text = keyOf(request)
  if (text === undefined) {
    if (route.access === 'key')
      throw new MeshError('keyInvalid', { problem: 'the header Authorization: Bearer mesh_sk_... is missing' })
    return undefined
  }
  if (route.access !== 'key' && route.access !== 'member-or-key')
    throw new MeshError('keyNotAccepted', { route: `${route.method} ${route.path}` })
  const { keyId, deviceId, poolId: ownPool } = keys.authenticate(text, request.ip)
  const { poolId = ownPool } = request.params as { poolId?: string }
  // the same answer whether that other pool exists or not
  if (poolId !== ownPool) throw new MeshError('keyOtherPool', { keyId })
  const pool = poolStore.find(ownPool)
  if (pool) pins.checkServed(pool)
  return { deviceId, address: request.ip, isAdmin: false, keyId }
}

/**
 * @throws MeshError `signatureInvalid` | `wrongControlPlane` | `clockSkew` | `replayed` | `deviceUnknown` | `notFound`
 * | certificate errors | `notAdmin`
 */
const authorise = (request: FastifyRequest, route: Route, services: Services): Caller => {
  const deviceId = verifyRequest(
    request.headers,
    { method: request.method, path: request.url },
    { own: services.key.id, guard: services.nonces, now: services.now() },
  )
  if (!route.registers && !services.deviceStore.find(deviceId)) throw new MeshError('deviceUnknown')
  if (route.access === 'device') return { deviceId, address: request.ip, isAdmin: false }

  const { poolId } = request.params as { poolId: string }
  const text = request.headers[headers.certificate]
  if (typeof text !== 'string') {
    services.pools.need(poolId) // of a pool that is not here that is said first, as `show` does
    throw new MeshError('notMember', { deviceId: shortId(deviceId), poolId: shortId(poolId) })
  }
  const certificate = services.memberships.show(text, deviceId, poolId)
  if (route.access === 'admin' && certificate.role !== 'admin')
    throw new MeshError('notAdmin', { poolId: shortId(poolId) })
  return { deviceId, address: request.ip, isAdmin: certificate.role === 'admin' }
}

const isMemberRoute = ({ access }: Route): boolean => access !== 'device' && access !== 'open'

/**
 * Who sends a request, decided by its headers alone, cheapest first: no byte of the body is read before.
 * @throws MeshError `tooManyRequests` | `bodyTooLarge` | what `authoriseKey` and `authorise` throw
 */
export const admitRequest = (request: FastifyRequest, route: Route, services: Services): Caller => {
  checkLength(request)
  if (route.access === 'open') return { ...nobody, address: request.ip }
  const { admission } = services
  const shown = request.headers[headers.device]
  const claimed = typeof shown === 'string' ? shown.slice(0, 64) : ''
  // what keys cost is decided by the key: `keyAttempts`
  if (keyOf(request) === undefined) admission.admit(request.ip, claimed)
  try {
    const app = authoriseKey(request, route, services)
    const caller = app ?? authorise(request, route, services)
    if (app) {
      admission.admit(request.ip, String(app.keyId))
      admission.chargeMember(request.ip, String(app.keyId))
    } else if (isMemberRoute(route)) admission.chargeMember(request.ip, claimed)
    else admission.charge(request.ip, claimed)
    if (app || isMemberRoute(route)) services.connections.proved(request.raw.socket, caller.keyId ?? caller.deviceId)
    return caller
  } catch (error) {
    if (keyOf(request) === undefined) admission.charge(request.ip, claimed)
    throw error
  }
}

/** That the body which came is the one that was signed. Keys sign nothing. @throws MeshError `signatureInvalid` */
export const checkSignedBody = (request: FastifyRequest): void => {
  const { caller, headers: sent, bodyHash } = request
  if (caller && caller.deviceId !== '' && caller.keyId === undefined) checkBody(sent, bodyHash)
}
