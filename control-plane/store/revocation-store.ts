/** The newest revocation list of each pool, as text: who reads it checks it. */
import { eq } from 'drizzle-orm'
import type { Store } from './database.ts'
import { revocations } from './membership-tables.ts'

export class RevocationStore {
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  find(poolId: string): string | undefined {
    return this.#store.select({ list: revocations.list }).from(revocations).where(eq(revocations.poolId, poolId)).get()
      ?.list
  }

  save(poolId: string, list: string): void {
    this.#store
      .insert(revocations)
      .values({ poolId, list })
      .onConflictDoUpdate({ target: revocations.poolId, set: { list } })
      .run()
  }
}
