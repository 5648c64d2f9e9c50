/** What spot checks found of members, to their charge: the newest of each member and model, the newest of a pool. */
import { and, desc, eq, gte } from 'drizzle-orm'
import type { Store } from './database.ts'
import { sumFindings } from './finding-tables.ts'

export type SumFinding = typeof sumFindings.$inferSelect

/** Kept of a pool: a device is in 64 rings at most. */
const kept = 1000

export class FindingStore {
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  keep(finding: SumFinding): void {
    const { poolId } = finding
    this.#store.transaction((tx) => {
      tx.insert(sumFindings)
        .values(finding)
        .onConflictDoUpdate({ target: [sumFindings.poolId, sumFindings.modelId, sumFindings.deviceId], set: finding })
        .run()
      const [oldest] = tx
        .select({ modelId: sumFindings.modelId, deviceId: sumFindings.deviceId })
        .from(sumFindings)
        .where(eq(sumFindings.poolId, poolId))
        .orderBy(desc(sumFindings.at))
        .limit(1)
        .offset(kept)
        .all()
      if (oldest)
        tx.delete(sumFindings)
          .where(
            and(
              eq(sumFindings.poolId, poolId),
              eq(sumFindings.modelId, oldest.modelId),
              eq(sumFindings.deviceId, oldest.deviceId),
            ),
          )
          .run()
    })
  }

  /** @param since what is older is left out */
  ofModel(poolId: string, modelId: string, since: number): SumFinding[] {
    return this.#store
      .select()
      .from(sumFindings)
      .where(and(eq(sumFindings.poolId, poolId), eq(sumFindings.modelId, modelId), gte(sumFindings.at, since)))
      .all()
  }
}
