/** Revocation lists as this device holds them: in its home, so that a restart forgets no removal. */
import { statSync } from 'node:fs'
import { type Home, readState, writeState } from '../../shared/home.ts'
import { fromHex } from '../../shared/identity/keys.ts'
import { readRevocations, replaces, type RevocationList } from '../../shared/identity/revocation-list.ts'
import { findPool } from './pools.ts'

interface Cached {
  readonly modifiedMs: number
  readonly list: RevocationList
}

export class Revocations {
  readonly #home: Home
  readonly #now: () => number
  readonly #cache = new Map<string, Cached>()

  constructor(home: Home, now: () => number) {
    this.#home = home
    this.#now = now
  }

  /**
   * The list that holds now; a command may have written it a moment ago.
   * @throws MeshError `stateUnreadable` | `revocationsInvalid` (a damaged file)
   */
  listOf(poolId: string): RevocationList | undefined {
    const file = this.#home.pool(poolId).revocations
    const modifiedMs = statSync(file, { throwIfNoEntry: false })?.mtimeMs
    const cached = this.#cache.get(poolId)
    if (modifiedMs === undefined) return cached?.list // whoever deletes the file must not bring a removed device back
    if (cached?.modifiedMs === modifiedMs) return cached.list
    const rootPublicKey = findPool(this.#home, poolId)?.rootPublicKey
    const text = readState(file)?.toString('utf8').trim()
    if (rootPublicKey === undefined || text === undefined) return undefined
    const list = readRevocations(text, fromHex(rootPublicKey, 32, 'root public key'), this.#now())
    this.#cache.set(poolId, { modifiedMs, list })
    return list
  }

  /**
   * Takes over a list that somebody showed, if it replaces the one that is held.
   * @returns whether it did; @throws MeshError `revocationsInvalid` | `stateUnwritable`
   */
  accept(poolId: string, text: string): boolean {
    const pool = findPool(this.#home, poolId)
    if (pool === undefined) return false
    const held = this.listOf(poolId)
    if (held?.text === text) return false
    const next = readRevocations(text, fromHex(pool.rootPublicKey, 32, 'root public key'), this.#now())
    if (!replaces(next, held)) return false
    const file = this.#home.pool(poolId).revocations
    writeState(file, `${text}\n`)
    this.#cache.set(poolId, { modifiedMs: statSync(file).mtimeMs, list: next })
    return true
  }
}
