/** Memory locks: the newest statement of each device. */
import { eq } from 'drizzle-orm'
import type { Commitment } from '../../shared/schema/lock.ts'
import type { Store } from './database.ts'
import { resourceLocks } from './lock-tables.ts'

export type StoredLock = Pick<Commitment, 'sequence' | 'phase' | 'memoryBytes' | 'cooldownMs'> & {
  readonly statement: string
}

export class LockStore {
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  find(deviceId: string): StoredLock | undefined {
    return this.#store.select().from(resourceLocks).where(eq(resourceLocks.deviceId, deviceId)).get()
  }

  /** Stores a statement that is newer than the known one. @returns false when it is not: nothing changed */
  record(
    deviceId: string,
    { sequence, phase, memoryBytes, cooldownMs }: Commitment,
    recorded: { readonly statement: string; readonly recordedAt: number },
  ): boolean {
    return this.#store.transaction((tx) => {
      const known = tx
        .select({ sequence: resourceLocks.sequence })
        .from(resourceLocks)
        .where(eq(resourceLocks.deviceId, deviceId))
        .get()
      if (known !== undefined && known.sequence >= sequence) return false
      const row = { sequence, phase, memoryBytes, cooldownMs, ...recorded }
      tx.insert(resourceLocks)
        .values({ deviceId, ...row })
        .onConflictDoUpdate({ target: resourceLocks.deviceId, set: row })
        .run()
      return true
    })
  }
}
