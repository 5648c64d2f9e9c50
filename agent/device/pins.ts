/** Which control plane serves each pool, as this device holds it: in its home, so that a restart forgets no move. */
import { statSync } from 'node:fs'
import { type Home, readState, writeState } from '../../shared/home.ts'
import { type ControlPlanePin, readPin, replacesPin } from '../../shared/identity/control-plane-pin.ts'
import { fromHex } from '../../shared/identity/keys.ts'
import { removalsOf } from '../../shared/identity/revocation-list.ts'
import { findPool } from './pools.ts'
import type { Revocations } from './revocations.ts'

interface Cached {
  readonly modifiedMs: number
  readonly pin: ControlPlanePin
}

const rootKeyOf = (hex: string): Uint8Array => fromHex(hex, 32, 'root public key')

export class Pins {
  readonly #home: Home
  readonly #revocations: Revocations
  readonly #now: () => number
  readonly #cache = new Map<string, Cached>()

  constructor(home: Home, revocations: Revocations, now: () => number) {
    this.#home = home
    this.#revocations = revocations
    this.#now = now
  }

  /**
   * The pin that is held; a command may have written it a moment ago. Where its signer was removed it goes on to hold
   * here until somebody who may signs another one: a pool shall not lose its control plane with one of its admins.
   * @throws MeshError `stateUnreadable` | `pinInvalid` (a damaged file)
   */
  pinOf(poolId: string): ControlPlanePin | undefined {
    const file = this.#home.pool(poolId).controlPlanePin
    const modifiedMs = statSync(file, { throwIfNoEntry: false })?.mtimeMs
    const cached = this.#cache.get(poolId)
    if (modifiedMs === undefined) return cached?.pin // whoever deletes the file must not undo a move
    if (cached?.modifiedMs === modifiedMs) return cached.pin
    const rootPublicKey = findPool(this.#home, poolId)?.rootPublicKey
    const text = readState(file)?.toString('utf8').trim()
    if (rootPublicKey === undefined || text === undefined) return undefined
    const pin = readPin(text, rootKeyOf(rootPublicKey), this.#now())
    this.#cache.set(poolId, { modifiedMs, pin })
    return pin
  }

  /**
   * Takes over a pin that somebody showed, if it replaces the one that is held.
   * @returns whether it did; @throws MeshError `pinInvalid` | `stateUnwritable`
   */
  accept(poolId: string, text: string): boolean {
    const pool = findPool(this.#home, poolId)
    if (pool === undefined) return false
    const held = this.pinOf(poolId)
    if (held?.text === text) return false
    const next = readPin(text, rootKeyOf(pool.rootPublicKey), this.#now())
    if (!replacesPin(next, held, removalsOf(this.#revocations.listOf(poolId)))) return false
    const file = this.#home.pool(poolId).controlPlanePin
    writeState(file, `${text}\n`)
    this.#cache.set(poolId, { modifiedMs: statSync(file).mtimeMs, pin: next })
    return true
  }
}
