/** Pools and their members, as the members see them. */
import { MeshError } from '../../shared/errors.ts'
import { checkOwner } from '../../shared/identity/pool-certificate.ts'
import type { Pool, PoolCreation, PoolPeer } from '../../shared/schema/pool.ts'
import { checkPool, checkFounder } from '../domain/pool-founding.ts'
import type { PoolStore, StoredPool } from '../store/pool-store.ts'
import type { Locks } from './locks.ts'
import type { Memberships } from './memberships.ts'
import type { Presence } from './presence.ts'

export interface PoolsOptions {
  readonly poolStore: PoolStore
  readonly memberships: Memberships
  readonly presence: Presence
  readonly locks: Pick<Locks, 'view'>
  readonly now: () => number
}

export class Pools {
  readonly #options: PoolsOptions

  constructor(options: PoolsOptions) {
    this.#options = options
  }

  /** @throws MeshError `notFound` */
  need(poolId: string): StoredPool {
    const pool = this.#options.poolStore.find(poolId)
    if (!pool) throw new MeshError('notFound', { what: 'pool', id: poolId })
    return pool
  }

  /**
   * Publishes a pool by the device that made it, or an admin of it; repeating it is harmless.
   * @throws MeshError `poolKeyMismatch` | `charterInvalid` | `certificateInvalid` | `certificateExpired` |
   * `memberRemoved` | `notAdmin`
   */
  create(creation: PoolCreation, deviceId: string): Pool {
    const { poolStore, memberships, presence, now } = this.#options
    checkPool(creation)
    const certificate = memberships.verify({ ...creation, charter: null, createdAt: 0 }, creation.certificate)
    checkOwner(certificate, deviceId)
    checkFounder(certificate)
    poolStore.create(creation, certificate, now())
    presence.admit(certificate)
    return this.view(creation.poolId)
  }

  /** @throws MeshError `notFound` */
  view(poolId: string): Pool {
    return this.#viewOf(this.need(poolId))
  }

  /** Pools that a device is a member of. */
  ofDevice(deviceId: string): Pool[] {
    return this.#options.poolStore.ofDevice(deviceId).map((pool) => this.#viewOf(pool))
  }

  /** The members of a pool, and where each can be reached. */
  peers(poolId: string): PoolPeer[] {
    const { poolStore, presence, locks } = this.#options
    return poolStore.members(poolId).map(({ deviceId, name, role, notAfter, lastSeenAt, certificate }) => {
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
    })
  }

  #viewOf({ charter, ...pool }: StoredPool): Pool {
    const { poolStore, presence } = this.#options
    const members = poolStore.members(pool.poolId)
    return {
      ...pool,
      ...(charter === null ? {} : { charter }),
      members: members.length,
      online: members.filter(({ deviceId }) => presence.isOnline(deviceId)).length,
    }
  }
}
