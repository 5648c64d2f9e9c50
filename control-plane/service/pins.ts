/** Which control plane serves a pool, by the word of its admins: this one serves no pool that they moved elsewhere. */
import { MeshError } from '../../shared/errors.ts'
import { type ControlPlanePin, isVoid, readPin, replacesPin } from '../../shared/identity/control-plane-pin.ts'
import type { Removals } from '../../shared/identity/pool-certificate.ts'
import { removalsOf } from '../../shared/identity/revocation-list.ts'
import { type ControlPlaneId, shortId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import type { PinStore } from '../store/pin-store.ts'
import type { StoredPool } from '../store/pool-store.ts'
import type { Events } from './events.ts'
import type { Presence } from './presence.ts'
import type { Revocations } from './revocations.ts'

export interface PinsOptions {
  /** Of this control plane. */
  readonly id: ControlPlaneId
  readonly pinStore: PinStore
  readonly revocations: Revocations
  readonly presence: Presence
  readonly events: Events
  readonly now: () => number
  readonly logger: Logger
}

export class Pins {
  readonly #options: PinsOptions
  /** Pins that were checked, by pool; `undefined`: there is none. */
  readonly #known = new Map<string, ControlPlanePin | undefined>()

  constructor(options: PinsOptions) {
    this.#options = options
  }

  /** The pin that is held, while its signer is a member of the pool. */
  pinOf(pool: StoredPool): ControlPlanePin | undefined {
    const pin = this.#held(pool)
    return pin && !isVoid(pin, this.#removals(pool)) ? pin : undefined
  }

  /** @throws MeshError `poolMoved` */
  checkServed(pool: StoredPool): void {
    const { id } = this.#options
    const pin = this.pinOf(pool)
    if (pin === undefined || pin.controlPlaneId === id) return
    throw new MeshError('poolMoved', {
      poolId: shortId(pool.poolId),
      want: shortId(pin.controlPlaneId),
      got: shortId(id),
    })
  }

  /** @returns false when the pin that is held stays; @throws MeshError `pinInvalid` */
  publish(pool: StoredPool, text: string): boolean {
    const { id, pinStore, presence, events, now, logger } = this.#options
    const { poolId } = pool
    const held = this.#held(pool)
    if (held?.text === text) return true
    const pin = readPin(text, Buffer.from(pool.rootPublicKey, 'hex'), now())
    if (!replacesPin(pin, held, this.#removals(pool))) return false
    pinStore.save(poolId, text)
    this.#known.set(poolId, pin)
    const agents = presence.membersOf(poolId)
    for (const agent of agents) agent.socket.send({ type: 'control-plane-pin', poolId, pin: text })
    if (pin.controlPlaneId === id) return true
    logger.info(
      { pool: poolId, to: pin.controlPlaneId, number: pin.number },
      `pool ${shortId(poolId)} was moved to control plane ${shortId(pin.controlPlaneId)}: ` +
        'it is not served here any more',
    )
    for (const agent of agents) presence.expel(agent.deviceId, poolId)
    events.emit('poolMoved', poolId)
    return true
  }

  #removals(pool: StoredPool): Removals {
    return removalsOf(this.#options.revocations.of(pool))
  }

  #held(pool: StoredPool): ControlPlanePin | undefined {
    const { pinStore, now } = this.#options
    if (this.#known.has(pool.poolId)) return this.#known.get(pool.poolId)
    const text = pinStore.find(pool.poolId)
    const pin = text === undefined ? undefined : readPin(text, Buffer.from(pool.rootPublicKey, 'hex'), now())
    this.#known.set(pool.poolId, pin)
    return pin
  }
}
