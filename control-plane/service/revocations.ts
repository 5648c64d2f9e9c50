/** The newest revocation list of each pool, checked once. */
import { readRevocations, replaces, type RevocationList } from '../../shared/identity/revocation-list.ts'
import type { StoredPool } from '../store/pool-store.ts'
import type { RevocationStore } from '../store/revocation-store.ts'

export interface RevocationsOptions {
  readonly revocationStore: RevocationStore
  readonly now: () => number
}

export class Revocations {
  readonly #options: RevocationsOptions
  /** Lists that were checked, by pool. */
  readonly #lists = new Map<string, RevocationList>()

  constructor(options: RevocationsOptions) {
    this.#options = options
  }

  /** The newest list of a pool. */
  of(pool: StoredPool): RevocationList | undefined {
    const known = this.#lists.get(pool.poolId)
    if (known) return known
    const text = this.#options.revocationStore.find(pool.poolId)
    if (text === undefined) return undefined
    const list = readRevocations(text, Buffer.from(pool.rootPublicKey, 'hex'), this.#options.now())
    this.#lists.set(pool.poolId, list)
    return list
  }

  /** @returns false for a list that does not replace the one that is held; @throws MeshError `revocationsInvalid` */
  accept(pool: StoredPool, text: string): boolean {
    const list = readRevocations(text, Buffer.from(pool.rootPublicKey, 'hex'), this.#options.now())
    if (!replaces(list, this.of(pool))) return false
    this.#options.revocationStore.save(pool.poolId, text)
    this.#lists.set(pool.poolId, list)
    return true
  }
}
