/** Rings, who wants to serve in them, and the newest epoch of each. One that nobody wants to serve in is removed. */
import { and, asc, count, eq, max } from 'drizzle-orm'
import type { RingId } from '../../shared/ids.ts'
import type { ModelManifest, Quant } from '../../shared/schema/model.ts'
import type { RingMember } from '../../shared/schema/ring.ts'
import type { Store } from './database.ts'
import { jobs, ringWishes, rings } from './tables.ts'

export interface StoredRing {
  readonly ringId: string
  readonly poolId: string
  readonly modelId: string
  readonly quant: Quant
  readonly model: ModelManifest
  readonly epoch: number
  readonly members: readonly RingMember[]
  readonly updatedAt: number
}

export interface Wish {
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

  wishes(ringId: string): Wish[] {
    return this.#store
      .select()
      .from(ringWishes)
      .where(eq(ringWishes.ringId, ringId))
      .orderBy(asc(ringWishes.joinedAt), asc(ringWishes.deviceId))
      .all()
  }

  wish(ringId: string, { deviceId, share, joinedAt }: Wish): void {
    this.#store
      .insert(ringWishes)
      .values({ ringId, deviceId, share, joinedAt })
      .onConflictDoUpdate({ target: [ringWishes.ringId, ringWishes.deviceId], set: { share } })
      .run()
  }

  /** @returns false when there was no such wish */
  unwish(ringId: string, deviceId: string): boolean {
    return (
      this.#store
        .delete(ringWishes)
        .where(and(eq(ringWishes.ringId, ringId), eq(ringWishes.deviceId, deviceId)))
        .run().changes > 0
    )
  }

  /** Nobody wants to serve in it any more. */
  unwishAll(ringId: string): void {
    this.#store.delete(ringWishes).where(eq(ringWishes.ringId, ringId)).run()
  }

  /** Rings of a pool that a device wants to serve in. */
  countOf(poolId: string, deviceId: string): number {
    const joined = this.#store
      .select({ count: count() })
      .from(ringWishes)
      .innerJoin(rings, eq(rings.ringId, ringWishes.ringId))
    return joined.where(and(eq(rings.poolId, poolId), eq(ringWishes.deviceId, deviceId))).get()?.count ?? 0
  }

  /** Forgets a ring. Jobs and ledger name their model and epoch themselves, and need nothing of it. */
  remove(ringId: string): void {
    this.#store.transaction((tx) => {
      tx.delete(ringWishes).where(eq(ringWishes.ringId, ringId)).run()
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
