/** Rings, who wants to serve in them, and the newest epoch of each. One that nobody wants to serve in is removed. */
import { and, asc, count, eq, max, sql } from 'drizzle-orm'
import type { RingId } from '../../shared/ids.ts'
import type { ModelManifest, Quant } from '../../shared/schema/model.ts'
import type { RingMember } from '../../shared/schema/ring.ts'
import type { RingRecord } from '../domain/ring-view.ts'
import type { Store } from './database.ts'
import { jobs, ringIntents, rings } from './tables.ts'

export type StoredRing = RingRecord

/** A device wants to serve in a ring, whether it is online or not. */
export interface Intent {
  readonly deviceId: string
  readonly share: number
  readonly joinedAt: number
}

export class RingStore {
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  all(): StoredRing[] {
    return this.#store.select().from(rings).all()
  }

  find(ringId: string): StoredRing | undefined {
    return this.#store.select().from(rings).where(eq(rings.ringId, ringId)).get()
  }

  findByModel(poolId: string, modelId: string): StoredRing | undefined {
    return this.#store
      .select()
      .from(rings)
      .where(and(eq(rings.poolId, poolId), eq(rings.modelId, modelId)))
      .get()
  }

  ofPool(poolId: string): StoredRing[] {
    return this.#store.select().from(rings).where(eq(rings.poolId, poolId)).orderBy(asc(rings.modelId)).all()
  }

  /** Rings that a device wants to serve in, the oldest first. */
  ofDevice(deviceId: string): StoredRing[] {
    return this.#store
      .select({ ring: rings })
      .from(rings)
      .innerJoin(ringIntents, eq(ringIntents.ringId, rings.ringId))
      .where(eq(ringIntents.deviceId, deviceId))
      .orderBy(sql`${rings}.rowid`)
      .all()
      .map(({ ring }) => ring)
  }

  /**
   * A new ring, or the existing one with another model and quantisation: only when nobody serves it any more.
   * Its epochs go on where those of an earlier ring of that model ended, as far as jobs name them.
   */
  define(
    ringId: RingId,
    poolId: string,
    { model, quant }: { model: ModelManifest; quant: Quant },
    now: number,
  ): StoredRing {
    return this.#store.transaction((tx) => {
      const isOfModel = and(eq(jobs.poolId, poolId), eq(jobs.modelId, model.modelId))
      const epoch =
        tx
          .select({ epoch: max(jobs.epoch) })
          .from(jobs)
          .where(isOfModel)
          .get()?.epoch ?? 0
      tx.insert(rings)
        .values({ ringId, poolId, modelId: model.modelId, quant, model, epoch, members: [], updatedAt: now })
        .onConflictDoUpdate({
          target: [rings.poolId, rings.modelId],
          set: { quant, model, members: [], updatedAt: now },
        })
        .run()
      return tx
        .select()
        .from(rings)
        .where(and(eq(rings.poolId, poolId), eq(rings.modelId, model.modelId)))
        .get() as StoredRing
    })
  }

  intents(ringId: string): Intent[] {
    return this.#store
      .select()
      .from(ringIntents)
      .where(eq(ringIntents.ringId, ringId))
      .orderBy(asc(ringIntents.joinedAt), asc(ringIntents.deviceId))
      .all()
  }

  intend(ringId: string, { deviceId, share, joinedAt }: Intent): void {
    this.#store
      .insert(ringIntents)
      .values({ ringId, deviceId, share, joinedAt })
      .onConflictDoUpdate({ target: [ringIntents.ringId, ringIntents.deviceId], set: { share } })
      .run()
  }

  /** @returns false when there was no such intent */
  removeIntent(ringId: string, deviceId: string): boolean {
    return (
      this.#store
        .delete(ringIntents)
        .where(and(eq(ringIntents.ringId, ringId), eq(ringIntents.deviceId, deviceId)))
        .run().changes > 0
    )
  }

  /** Nobody wants to serve in it any more. */
  clearIntents(ringId: string): void {
    this.#store.delete(ringIntents).where(eq(ringIntents.ringId, ringId)).run()
  }

  /** Rings of a pool that a device wants to serve in. */
  countOf(poolId: string, deviceId: string): number {
    const joined = this.#store
      .select({ count: count() })
      .from(ringIntents)
      .innerJoin(rings, eq(rings.ringId, ringIntents.ringId))
    return joined.where(and(eq(rings.poolId, poolId), eq(ringIntents.deviceId, deviceId))).get()?.count ?? 0
  }

  /** Forgets a ring. Jobs and ledger name their model and epoch themselves, and need nothing of it. */
  remove(ringId: string): void {
    this.#store.transaction((tx) => {
      tx.delete(ringIntents).where(eq(ringIntents.ringId, ringId)).run()
      tx.delete(rings).where(eq(rings.ringId, ringId)).run()
    })
  }

  /** Stores the next epoch; numbers only grow, also over a restart. */
  saveEpoch(ringId: string, epoch: number, members: readonly RingMember[], now: number): void {
    this.#store
      .update(rings)
      .set({ epoch, members: [...members], updatedAt: now })
      .where(eq(rings.ringId, ringId))
      .run()
  }
}
