/** Which devices want to serve in which ring. */
import { newRingId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import { MeshError } from '../../shared/errors.ts'
import { planShards } from '../../shared/plan/shard-plan.ts'
import type { RingJoin, RingView } from '../../shared/schema/ring.ts'
import { checkRemoval, checkRingLimit, decideJoin } from '../domain/ring-joining.ts'
import type { RingStore, StoredRing } from '../store/ring-store.ts'
import type { LiveRings } from './live-rings.ts'
import type { Presence } from './presence.ts'
import type { RingEpochs } from './ring-epochs.ts'
import type { RunningJobs } from './running-jobs.ts'

export interface RingIntentsOptions {
  readonly ringStore: RingStore
  readonly liveRings: LiveRings
  readonly ringEpochs: RingEpochs
  readonly runningJobs: RunningJobs
  readonly presence: Presence
  readonly now: () => number
  readonly logger: Logger
}

export class RingIntents {
  readonly #options: RingIntentsOptions

  constructor(options: RingIntentsOptions) {
    this.#options = options
  }

  /**
   * @throws MeshError `modelMismatch` | `quantMismatch` when others serve the model with other files or quantisation |
   * `planImpossible` | `ringLimit`
   */
  join(poolId: string, deviceId: string, join: RingJoin): RingView {
    const { ringStore, liveRings, ringEpochs, now } = this.#options
    planShards(join.model.shape, [join.share]) // a shape that nobody could split must not be stored
    const known = ringStore.findByModel(poolId, join.model.modelId)
    const serving = known ? ringStore.intents(known.ringId) : []
    const isNew = !serving.some((intent) => intent.deviceId === deviceId)
    checkRingLimit(isNew, ringStore.countOf(poolId, deviceId))
    const isTaken =
      known !== undefined &&
      (this.#options.runningJobs.isBusy(known.ringId) || serving.some((intent) => intent.deviceId !== deviceId))
    const ring =
      decideJoin(known, join, isTaken) === 'join' && known
        ? known
        : ringStore.define(newRingId(), poolId, { model: join.model, quant: join.quant }, now())
    try {
      ringStore.intend(ring.ringId, { deviceId, share: join.share, joinedAt: now() })
    } catch (error) {
      ringEpochs.evaluate(ring.ringId) // it may have been made for this device alone
      throw error
    }
    // joining again is a request to try again
    liveRings.of(ring.ringId).askAgain(deviceId, ring.members, now())
    ringEpochs.evaluate(ring.ringId)
    ringEpochs.remind(ring, deviceId)
    return liveRings.view(ring.ringId)
  }

  /** @throws MeshError `notInRing` */
  leave(poolId: string, deviceId: string, modelId: string): void {
    const { ringStore, ringEpochs, runningJobs } = this.#options
    const ring = ringStore.findByModel(poolId, modelId)
    if (!ring || !ringStore.removeIntent(ring.ringId, deviceId)) throw new MeshError('notInRing', { modelId })
    // a member stays until the running job is done: its links are part of it
    const isNeeded = runningJobs.isBusy(ring.ringId) && ring.members.some((member) => member.deviceId === deviceId)
    if (!isNeeded) this.#tellLeft(ring, deviceId)
    ringEpochs.evaluate(ring.ringId)
  }

  /**
   * Removes a ring with all who serve in it. A running job ends first.
   * @returns whether one runs. @throws MeshError `notFound` | `notAdmin` (others serve in it)
   */
  remove(poolId: string, by: { readonly deviceId: string; readonly isAdmin: boolean }, modelId: string): boolean {
    const { ringStore, ringEpochs, runningJobs, logger } = this.#options
    const ring = ringStore.findByModel(poolId, modelId)
    if (!ring) throw new MeshError('notFound', { what: 'ring for', id: modelId })
    checkRemoval(poolId, by, ringStore.intents(ring.ringId))
    ringStore.clearIntents(ring.ringId)
    logger.info({ ring: ring.ringId, device: by.deviceId }, 'ring removed')
    const jobRuns = runningJobs.isBusy(ring.ringId)
    ringEpochs.evaluate(ring.ringId)
    return jobRuns
  }

  /** A device was removed from the pool: it serves nothing there any more. A running job is for others to end first. */
  expel(poolId: string, deviceId: string): void {
    const { ringStore } = this.#options
    for (const ring of ringStore.ofPool(poolId))
      if (ringStore.removeIntent(ring.ringId, deviceId)) this.#tellLeft(ring, deviceId)
  }

  /**
   * After the start: older versions kept rings in which nobody serves. And nobody knows any more why a device is no
   * part of the epoch that is there: it is tried first.
   */
  sweep(): void {
    const { ringStore, liveRings, ringEpochs, now } = this.#options
    for (const { ringId, members } of ringStore.all()) {
      const serving = ringStore.intents(ringId)
      if (serving.length === 0) ringEpochs.evaluate(ringId)
      if (members.length === 0) continue
      const outside = serving.filter(({ deviceId }) => !members.some((member) => member.deviceId === deviceId))
      for (const { deviceId } of outside) liveRings.of(ringId).health.doubt(deviceId, now())
    }
  }

  #tellLeft({ ringId }: StoredRing, deviceId: string): void {
    this.#options.presence.find(deviceId)?.socket.send({ type: 'ring-left', ringId })
  }
}
