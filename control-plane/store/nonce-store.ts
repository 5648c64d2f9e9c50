/** Nonces of signed requests: a request that was seen is refused, also by the next process on the same file. */
import { lt } from 'drizzle-orm'
import { MeshError } from '../../shared/errors.ts'
import type { NonceGuard } from '../../shared/identity/request-signature.ts'
import { limits } from '../../shared/wire/limits.ts'
import type { Store } from './database.ts'
import { requestNonces } from './membership-tables.ts'

/** A request is accepted for this long before and after its time, so its nonce must be known for twice as long. */
const keepMs = 2 * limits.clockSkewMs
const pruneEveryMs = 30_000

export class NonceStore implements NonceGuard {
  readonly #store: Store
  #pruneAt = 0

  constructor(store: Store) {
    this.#store = store
  }

  check(deviceId: string, nonce: string, now: number): void {
    if (now >= this.#pruneAt) {
      this.#store.delete(requestNonces).where(lt(requestNonces.expiresAt, now)).run()
      this.#pruneAt = now + pruneEveryMs
    }
    const { changes } = this.#store.insert(requestNonces).values({ deviceId, nonce, expiresAt: now + keepMs }).onConflictDoNothing().run()
    if (changes === 0) throw new MeshError('replayed')
  }
}
