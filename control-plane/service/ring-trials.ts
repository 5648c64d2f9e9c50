/** Members that a ring goes on without: they are told why, and show that they can load before anybody waits for them again. */
import type { Logger } from '../../shared/log.ts'
import type { WishState } from '../domain/ring-formation.ts'
import type { StoredRing } from '../store/ring-store.ts'
import type { LiveRing } from './live-ring.ts'
import type { Presence } from './presence.ts'
import { againIn, epochOf, type RingFacts } from './ring-facts.ts'

export interface RingTrialsOptions {
  readonly facts: RingFacts
  readonly presence: Presence
  readonly now: () => number
  readonly logger: Logger
}

export class RingTrials {
  readonly #options: RingTrialsOptions

  constructor(options: RingTrialsOptions) {
    this.#options = options
  }

  /** Tells those that are left out now, once for each time. */
  tell(ring: StoredRing, live: LiveRing, wishes: readonly WishState[]): void {
    const { presence, now, logger } = this.#options
    for (const { deviceId, name } of wishes) {
      const out = live.health.leftOut(deviceId)
      if (!out?.error || out.trial || live.told.get(deviceId) === out.until) continue
      live.told.set(deviceId, out.until)
      const { code, message } = out.error
      logger.warn(
        { ring: ring.ringId, device: deviceId, code },
        `${name} is left out of the ring for ${ring.modelId}: ${message}; ${againIn(out.until, now())}`,
      )
      const socket = presence.find(deviceId)?.socket
      socket?.send({
        type: 'ring-left-out',
        ringId: ring.ringId,
        poolId: ring.poolId,
        modelId: ring.modelId,
        error: out.error,
        retryMs: Math.max(0, out.until - now()),
      })
    }
  }

  /** Lets those whose pause is over load their part of the next epoch, while the others go on. */
  begin(ring: StoredRing, live: LiveRing, wishes: readonly WishState[]): void {
    const { facts, presence, now, logger } = this.#options
    for (const wish of wishes) {
      const out = live.health.leftOut(wish.deviceId)
      const isDue = out !== undefined && !out.trial && out.until <= now()
      if (!isDue || !wish.leftOut?.canTry || !wish.available || wish.noRoom) continue
      const parts = wishes.filter((one) => one === wish || (one.available && !one.noRoom && !one.leftOut))
      const plan = facts.plan(ring, parts)
      if (!plan.fits) continue
      const epoch = ring.epoch + 1
      live.health.try(wish, epoch, now())
      logger.info(
        { ring: ring.ringId, device: wish.deviceId },
        `${wish.name} is tried again: it loads its part while the others go on`,
      )
      presence
        .find(wish.deviceId)
        ?.socket.send({ type: 'ring-trial', ring: epochOf({ ...ring, epoch, members: facts.membersOf(parts, plan) }) })
    }
  }
}
