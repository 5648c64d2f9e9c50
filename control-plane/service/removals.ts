/** What follows from a new revocation list: jobs end, rings form anew, members are told. */
import { MeshError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { PoolStore, StoredMember, StoredPool } from '../store/pool-store.ts'
import type { ApiKeys } from './api-keys.ts'
import type { Background } from './background.ts'
import type { JobLeaders } from './job-leaders.ts'
import type { Memberships } from './memberships.ts'
import type { Presence } from './presence.ts'
import type { Revocations } from './revocations.ts'
import type { RingEpochs } from './ring-epochs.ts'
import type { RingIntents } from './ring-intents.ts'

export interface RemovalsOptions {
  readonly memberships: Memberships
  readonly revocations: Revocations
  readonly poolStore: PoolStore
  readonly presence: Presence
  readonly ringIntents: RingIntents
  readonly ringEpochs: RingEpochs
  readonly jobLeaders: JobLeaders
  readonly keys: ApiKeys
  readonly background: Background
  readonly now: () => number
  readonly logger: Logger
}

export class Removals {
  readonly #options: RemovalsOptions

  constructor(options: RemovalsOptions) {
    this.#options = options
  }

  /** @returns false when a newer list is held; @throws MeshError `revocationsInvalid` */
  publish(pool: StoredPool, text: string): boolean {
    const { revocations, presence, background } = this.#options
    if (!revocations.accept(pool, text)) return false
    const agents = presence.membersOf(pool.poolId)
    // the list is stored, so it holds; nobody sends it again, so what follows from it must not get lost
    background.untilStored(`removals/${pool.poolId}`, () => this.#expelRemoved(pool))
    for (const agent of agents) agent.socket.send({ type: 'revocations', poolId: pool.poolId, list: text })
    return true
  }

  #expelRemoved(pool: StoredPool): void {
    const { poolStore, logger } = this.#options
    for (const member of poolStore.members(pool.poolId)) {
      if (!this.#isRemoved(pool, member.certificate)) continue
      logger.info({ pool: pool.poolId, device: member.deviceId }, 'member removed')
      this.#expel(pool.poolId, member)
    }
  }

  /** It was removed itself, or the admin that signed for it was. */
  #isRemoved(pool: StoredPool, certificate: string): boolean {
    try {
      this.#options.memberships.verify(pool, certificate)
      return false
    } catch (error) {
      return error instanceof MeshError && error.code === 'memberRemoved'
    }
  }

  #expel(poolId: string, { deviceId, name }: StoredMember): void {
    const { poolStore, presence, ringIntents, ringEpochs, jobLeaders, keys } = this.#options
    presence.expel(deviceId, poolId)
    keys.revokeOf(poolId, deviceId)
    ringIntents.expel(poolId, deviceId)
    jobLeaders.expel(poolId, deviceId, new MeshError('peerRemoved', { peer: name }))
    poolStore.removeMember(poolId, deviceId) // last: until then it is found here again
    ringEpochs.evaluatePool(poolId)
  }
}
