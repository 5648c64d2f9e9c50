/**
 * How a device becomes a member: it asks, an admin signs (by hand, or its agent for an invite), it fetches the
 * certificate.
 */
import { MeshError } from '../../shared/errors.ts'
import type { ErrorReportJson } from '../../shared/schema/common.ts'
import type { InviteProof, JoinRequest } from '../../shared/schema/pool.ts'
import { adminView, checkJoinRoom, checkPoolKey, requestView } from '../domain/join-request.ts'
import type { DeviceStore } from '../store/device-store.ts'
import type { PoolStore, StoredPool } from '../store/pool-store.ts'
import type { Memberships } from './memberships.ts'
import type { Pins } from './pins.ts'
import type { Presence } from './presence.ts'
import type { RingEpochs } from './ring-epochs.ts'

export interface JoinRequestsOptions {
  readonly poolStore: PoolStore
  readonly deviceStore: DeviceStore
  readonly memberships: Memberships
  readonly pins: Pick<Pins, 'checkServed'>
  readonly presence: Presence
  readonly ringEpochs: Pick<RingEpochs, 'evaluateOf'>
  readonly now: () => number
}

export class JoinRequests {
  readonly #options: JoinRequestsOptions

  constructor(options: JoinRequestsOptions) {
    this.#options = options
  }

  /**
   * A device asks, or asks again; a member is shown its certificate.
   * @throws MeshError `poolKeyMismatch` | `poolMoved` | `overloaded`
   */
  ask(
    pool: StoredPool,
    deviceId: string,
    { rootPublicKey, invite }: { readonly rootPublicKey: string; readonly invite?: InviteProof },
  ): JoinRequest {
    const { poolStore, pins, now } = this.#options
    const { poolId } = pool
    checkPoolKey(pool, rootPublicKey)
    pins.checkServed(pool)
    if (this.#certificateOf(pool, deviceId) === undefined) {
      const isKnown = poolStore.requestOf(poolId, deviceId) !== undefined
      checkJoinRoom(isKnown, poolStore.countRequests(poolId))
      poolStore.request(poolId, deviceId, { invite, now: now() })
      this.#tellAdmins(poolId, deviceId)
    }
    return this.of(pool, deviceId)
  }

  /** How the request of a device stands. @throws MeshError `notFound` */
  of(pool: StoredPool, deviceId: string): JoinRequest {
    const { poolStore, deviceStore, now } = this.#options
    const { poolId } = pool
    const request = poolStore.requestOf(poolId, deviceId)
    if (request) return requestView(request)
    const certificate = this.#certificateOf(pool, deviceId)
    if (certificate === undefined) throw new MeshError('notFound', { what: 'join request for pool', id: poolId })
    const name = deviceStore.find(deviceId)?.name ?? ''
    return { poolId, deviceId, name, createdAt: now(), status: 'approved', certificate }
  }

  /** Requests that wait, as admins see them. */
  waiting(poolId: string): JoinRequest[] {
    return this.#options.poolStore.requests(poolId).map(adminView)
  }

  /** @throws MeshError `notFound` */
  deny(poolId: string, deviceId: string, error: ErrorReportJson): void {
    if (!this.#options.poolStore.deny(poolId, deviceId, error))
      throw new MeshError('notFound', { what: 'join request of device', id: deviceId })
  }

  /** An admin signed for a device. @throws MeshError `certificateInvalid` | `certificateExpired` | `memberRemoved` */
  publish(pool: StoredPool, text: string): void {
    const { poolStore, memberships, presence, ringEpochs } = this.#options
    const certificate = memberships.verify(pool, text)
    const { deviceId } = certificate
    poolStore.publish(text, certificate)
    presence.admit(certificate)
    presence.find(deviceId)?.socket.send({ type: 'certificate', poolId: pool.poolId, certificate: text })
    ringEpochs.evaluateOf(deviceId) // a ring may have waited for the renewal
  }

  /** Certificate on file, while it is valid. */
  #certificateOf(pool: StoredPool, deviceId: string): string | undefined {
    const { poolStore, memberships } = this.#options
    const text = poolStore.membership(pool.poolId, deviceId)?.certificate
    if (text === undefined) return undefined
    try {
      memberships.verify(pool, text)
      return text
    } catch {
      return undefined // expired, or the device was removed: a new request is in order
    }
  }

  #tellAdmins(poolId: string, deviceId: string): void {
    const { poolStore, presence, now } = this.#options
    const request = poolStore.requestOf(poolId, deviceId)
    if (!request) return
    for (const admin of presence.admins(poolId, now()))
      admin.socket.send({ type: 'join-request', poolId, request: adminView(request) })
  }
}
