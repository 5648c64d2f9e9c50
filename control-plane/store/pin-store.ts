/** Which control plane serves each pool, as text: who reads it checks it. */
import { eq } from 'drizzle-orm'
import type { Store } from './database.ts'
import { controlPlanePins } from './membership-tables.ts'

export class PinStore {
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  find(poolId: string): string | undefined {
    return this.#store
      .select({ pin: controlPlanePins.pin })
      .from(controlPlanePins)
      .where(eq(controlPlanePins.poolId, poolId))
      .get()?.pin
  }

  save(poolId: string, pin: string): void {
    this.#store
      .insert(controlPlanePins)
      .values({ poolId, pin })
      .onConflictDoUpdate({ target: controlPlanePins.poolId, set: { pin } })
      .run()
  }
}
