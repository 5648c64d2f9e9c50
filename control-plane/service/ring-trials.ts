/**
 * Members that a ring goes on without: they are told why, and show that they can load before anybody waits for them
 * again.
 */
import type { Logger } from '../../shared/log.ts'
import type { IntentState } from '../domain/ring-formation.ts'
import type { StoredRing } from '../store/ring-store.ts'
import type { LiveRing } from './live-ring.ts'
import type { Presence } from './presence.ts'
import { againIn, epochOf, type RingFacts } from './ring-facts.ts'

export interface RingTrialsOptions {
  readonly ringFacts: RingFacts
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
  tell(ring: StoredRing, live: LiveRing, intents: readonly IntentState[]): void {
    const { presence, now, logger } = this.#options
    for (const { deviceId, name } of intents) {
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
  begin(ring: StoredRing, live: LiveRing, intents: readonly IntentState[]): void {
    const { ringFacts, presence, now, logger } = this.#options
    for (const intent of intents) {
      const out = live.health.leftOut(intent.deviceId)
      const isDue = out !== undefined && !out.trial && out.until <= now()
      if (!isDue || !intent.leftOut?.canTry || !intent.available || intent.noRoom) continue
      const parts = intents.filter((one) => one === intent || (one.available && !one.noRoom && !one.leftOut))
      const plan = ringFacts.plan(ring, parts)
      if (!plan.fits) continue
      const epoch = ring.epoch + 1
      live.health.try(intent, epoch, now())
      logger.info(
        { ring: ring.ringId, device: intent.deviceId },
        `${intent.name} is tried again: it loads its part while the others go on`,
      )
      presence.find(intent.deviceId)?.socket.send({
        type: 'ring-trial',
        ring: epochOf({ ...ring, epoch, members: ringFacts.membersOf(parts, plan) }),
      })
    }
  }
}
