/** API keys. Each method is one transaction. */
import { and, asc, count, eq, gte, isNotNull, isNull, lte, or, sql } from 'drizzle-orm'
import type { Store } from './database.ts'
import { apiKeys } from './key-tables.ts'
import { jobs } from './tables.ts'

export type StoredKey = typeof apiKeys.$inferSelect

/** Whether a key still opens anything by itself; that its maker is a member is another matter. */
export const isLive = ({ revokedAt, expiresAt }: Pick<StoredKey, 'revokedAt' | 'expiresAt'>, now: number): boolean =>
  revokedAt === null && now < expiresAt

export class KeyStore {
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  find(keyId: string): StoredKey | undefined {
    return this.#store.select().from(apiKeys).where(eq(apiKeys.keyId, keyId)).get()
  }

  /**
   * Stores a key. Where its maker has `limit` of them, the one that ended first makes room.
   * @returns false when all of those are live
   */
  add(key: StoredKey, limit: number): boolean {
    return this.#store.transaction((tx) => {
      const isOwn = and(eq(apiKeys.poolId, key.poolId), eq(apiKeys.deviceId, key.deviceId))
      const known = tx.select({ keys: count() }).from(apiKeys).where(isOwn).get()?.keys ?? 0
      if (known >= limit) {
        const isOver = or(isNotNull(apiKeys.revokedAt), lte(apiKeys.expiresAt, key.createdAt))
        const oldest = tx
          .select({ keyId: apiKeys.keyId })
          .from(apiKeys)
          .where(and(isOwn, isOver))
          .orderBy(asc(sql`coalesce(${apiKeys.revokedAt}, ${apiKeys.expiresAt})`))
          .limit(1)
          .get()
        if (!oldest) return false
        tx.delete(apiKeys).where(eq(apiKeys.keyId, oldest.keyId)).run()
      }
      tx.insert(apiKeys).values(key).run()
      return true
    })
  }

  /** Keys of a pool, or those of one device in it; oldest first. */
  list(poolId: string, deviceId?: string): StoredKey[] {
    return this.#store
      .select()
      .from(apiKeys)
      .where(and(eq(apiKeys.poolId, poolId), ...(deviceId === undefined ? [] : [eq(apiKeys.deviceId, deviceId)])))
      .orderBy(asc(apiKeys.createdAt), asc(apiKeys.keyId))
      .all()
  }

  /** @returns false when it was revoked before */
  revoke(keyId: string, now: number): boolean {
    return (
      this.#store
        .update(apiKeys)
        .set({ revokedAt: now })
        .where(and(eq(apiKeys.keyId, keyId), isNull(apiKeys.revokedAt)))
        .run().changes > 0
    )
  }

  use(keyId: string, now: number): void {
    this.#store.update(apiKeys).set({ lastUsedAt: now }).where(eq(apiKeys.keyId, keyId)).run()
  }

  /** Tokens that count against the quota of a key: of jobs that ended at `since` or later, and of open ones. */
  tokensOf(keyId: string, since: number): { usedToday: number; reserved: number } {
    const isOpen = sql`${jobs.finishedAt} is null`
    const sums = this.#store
      .select({
        usedToday: sql<number | null>`sum(case when ${isOpen} then 0 else ${jobs.quotaTokens} end)`,
        reserved: sql<number | null>`sum(case when ${isOpen} then ${jobs.quotaTokens} else 0 end)`,
      })
      .from(jobs)
      .where(and(eq(jobs.keyId, keyId), or(isNull(jobs.finishedAt), gte(jobs.finishedAt, since))))
      .get()
    return { usedToday: sums?.usedToday ?? 0, reserved: sums?.reserved ?? 0 }
  }
}
