/**
 * Which control plane serves each pool of this device: taken from whoever has a newer statement of the admins, and told
 * to all others. An admin's agent makes the statement where a pool has none yet, or none that holds any more.
 */
import type { Client } from '../../shared/api/client.ts'
import { problemOf } from '../../shared/errors.ts'
import type { Home } from '../../shared/home.ts'
import { type ControlPlanePin, isVoid, signPin } from '../../shared/identity/control-plane-pin.ts'
import type { KeyPair } from '../../shared/identity/keys.ts'
import { removalsOf } from '../../shared/identity/revocation-list.ts'
import { type ControlPlaneId, shortId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import type { Pins } from '../device/pins.ts'
import { findPool, listPools, type LocalPool, signerOf } from '../device/pools.ts'
import type { Revocations } from '../device/revocations.ts'
import type { PoolWatch } from './pool-watch.ts'

export interface PoolPinsOptions {
  readonly home: Home
  readonly watch: PoolWatch
  /** Of this device. */
  readonly key: KeyPair
  readonly pins: Pins
  readonly revocations: Revocations
  readonly now: () => number
  readonly logger: Logger
  /** The control plane that the agent is connected to, if any. */
  client(): Client | undefined
  /** Key that this one proved; `undefined`: it proved none. */
  controlPlaneId(): ControlPlaneId | undefined
  /** Shows the pin of a pool to the members that are connected. */
  tellMembers(poolId: string): void
  /** Another control plane may be the right one now. */
  onChange(poolId: string): void
}

export class PoolPins {
  readonly #options: PoolPinsOptions
  /** Text of the pin that was passed on last, by pool. */
  readonly #applied = new Map<string, string>()

  constructor(options: PoolPinsOptions) {
    this.#options = options
    options.watch.onLook((pools) => this.#see(pools))
  }

  /** A command may have written a pin, or a removal made one void. */
  #see(pools: readonly LocalPool[]): void {
    for (const pool of pools) {
      this.#apply(pool)
      this.#signAnew(pool)
    }
  }

  /** A member showed a pin, and has seen ours. @throws MeshError `pinInvalid` | `stateUnwritable` */
  receive(poolId: string, text: string): void {
    const { home, pins } = this.#options
    const pool = findPool(home, poolId)
    if (pins.accept(poolId, text) && pool) this.#apply(pool)
  }

  /** The control plane showed a pin. @throws MeshError `pinInvalid` | `stateUnwritable` */
  receiveFromControlPlane(poolId: string, text: string): void {
    this.receive(poolId, text)
    if (this.#options.pins.pinOf(poolId)?.text !== text) void this.#publish(poolId)
  }

  /** The control plane is there: it hears what it may not know, and pools of before get their first pin. */
  async connected(): Promise<void> {
    const { home, logger } = this.#options
    for (const pool of listPools(home)) {
      try {
        await this.#meet(pool)
      } catch (error) {
        logger.debug(
          { pool: shortId(pool.poolId), problem: problemOf(error) },
          'pin not compared with the control plane',
        )
      }
    }
  }

  async #meet(pool: LocalPool): Promise<void> {
    const { key, pins, client, controlPlaneId, now } = this.#options
    const { poolId } = pool
    const { pin } = (await client()?.call('getPin', { params: { poolId } })) ?? {}
    if (pin !== undefined) this.receiveFromControlPlane(poolId, pin)
    const [signer, id] = [signerOf(pool, key), controlPlaneId()]
    if (pins.pinOf(poolId) === undefined && signer && id) {
      pins.accept(poolId, signPin(signer, { after: 0, controlPlaneId: id }, now()))
      this.#apply(pool)
    } else if (pin === undefined) await this.#publish(poolId)
  }

  /** The admin whose word it was is no member any more: another one gives it again. */
  #signAnew(pool: LocalPool): void {
    const { key, pins, revocations, now, logger } = this.#options
    const pin = pins.pinOf(pool.poolId)
    const signer = signerOf(pool, key)
    if (!pin || !signer || !isVoid(pin, removalsOf(revocations.listOf(pool.poolId)))) return
    const { number, controlPlaneId } = pin
    if (!pins.accept(pool.poolId, signPin(signer, { after: number, controlPlaneId }, now()))) return
    logger.info(
      { pool: pool.name },
      `the admin who named control plane ${shortId(controlPlaneId)} for pool ${pool.name} was removed: ` +
        'this device names it now',
    )
    this.#apply(pool)
  }

  #apply({ poolId, name }: LocalPool): void {
    const { pins, logger, tellMembers, onChange } = this.#options
    const pin = pins.pinOf(poolId)
    if (!pin || this.#applied.get(poolId) === pin.text) return
    this.#applied.set(poolId, pin.text)
    logger.info(
      { pool: name, number: pin.number, key: pin.controlPlaneId },
      `pool ${name} is served by the control plane with the key ${shortId(pin.controlPlaneId)}`,
    )
    tellMembers(poolId)
    void this.#publish(poolId)
    onChange(poolId)
  }

  /** The control plane compares; failing is no harm: the next connection tries again. */
  async #publish(poolId: string): Promise<void> {
    const { pins, client, logger } = this.#options
    const pin: ControlPlanePin | undefined = pins.pinOf(poolId)
    if (pin === undefined) return
    try {
      await client()?.call('publishPin', { params: { poolId }, body: { pin: pin.text } })
    } catch (error) {
      logger.debug({ pool: shortId(poolId), problem: problemOf(error) }, 'pin not published')
    }
  }
}
