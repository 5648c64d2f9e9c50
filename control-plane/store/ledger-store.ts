/** The ledger of each pool, its sums, and who takes part. */
import { and, asc, desc, eq, getTableColumns, gt, gte, sql } from 'drizzle-orm'
import { hashOf, noHash } from '../../shared/ledger/entry.ts'
import type { LedgerEntry } from '../../shared/schema/credits.ts'
import { creditDays, ledgerEntries, participants } from './credit-tables.ts'
import type { Store } from './database.ts'

/** Sums of one device, in credits. */
export interface CreditSums {
  readonly deviceId: string
  readonly earned: number
  readonly used: number
  readonly recentlyEarned: number
  readonly recentlyUsed: number
}

const { poolId: _pool, ...entryColumns } = getTableColumns(ledgerEntries)

const dayMs = 86_400_000
const dayOf = (time: number): number => Math.floor(time / dayMs)

/** Statements of the hot path, prepared once: building one takes longer than running it. */
const prepare = (store: Store) => {
  const at = sql.placeholder
  return {
    last: store
      .select({ sequence: ledgerEntries.sequence, hash: ledgerEntries.hash })
      .from(ledgerEntries)
      .where(eq(ledgerEntries.poolId, at('poolId')))
      .orderBy(desc(ledgerEntries.sequence))
      .limit(1)
      .prepare(),
    append: store
      .insert(ledgerEntries)
      .values({
        poolId: at('poolId'),
        sequence: at('sequence'),
        deviceId: at('deviceId'),
        kind: at('kind'),
        jobId: at('jobId'),
        epoch: at('epoch'),
        weights: at('weights'),
        tokens: at('tokens'),
        computeUs: at('computeUs'),
        modelWeights: at('modelWeights'),
        amount: at('amount'),
        settledAt: at('settledAt'),
        signature: at('signature'),
        hash: at('hash'),
      })
      .prepare(),
    sum: store
      .insert(creditDays)
      .values({
        poolId: at('poolId'),
        deviceId: at('deviceId'),
        day: at('day'),
        earned: at('earned'),
        used: at('used'),
      })
      .onConflictDoUpdate({
        target: [creditDays.poolId, creditDays.deviceId, creditDays.day],
        set: { earned: sql`${creditDays.earned} + excluded.earned`, used: sql`${creditDays.used} + excluded.used` },
      })
      .prepare(),
    join: store
      .insert(participants)
      .values({ poolId: at('poolId'), deviceId: at('deviceId'), since: at('since') })
      .onConflictDoNothing()
      .prepare(),
  }
}

export class LedgerStore {
  readonly #store: Store
  readonly #prepared: ReturnType<typeof prepare>

  constructor(store: Store) {
    this.#store = store
    this.#prepared = prepare(store)
  }

  /** A device takes part in a pool; only the first time counts. */
  join(poolId: string, deviceId: string, since: number): void {
    this.#prepared.join.run({ poolId, deviceId, since })
  }

  participants(poolId: string): { readonly deviceId: string; readonly since: number }[] {
    return this.#store
      .select({ deviceId: participants.deviceId, since: participants.since })
      .from(participants)
      .where(eq(participants.poolId, poolId))
      .orderBy(asc(participants.since), asc(participants.deviceId))
      .all()
  }

  /** Writes entries behind those that are there, and adds them to the sums of that day: within a transaction. */
  append(poolId: string, entries: readonly Omit<LedgerEntry, 'sequence' | 'hash'>[], now: number): void {
    let { sequence, hash } = this.#prepared.last.get({ poolId }) ?? { sequence: 0, hash: noHash }
    for (const written of entries) {
      const { deviceId, amount } = written
      const entry = { ...written, sequence: ++sequence }
      hash = hashOf(poolId, hash, entry)
      this.#prepared.append.run({ poolId, ...entry, hash })
      const [earned, used] = [Math.max(amount, 0), Math.max(-amount, 0)]
      this.#prepared.sum.run({ poolId, deviceId, day: dayOf(now), earned, used })
      this.join(poolId, deviceId, now)
    }
  }

  /**
   * Entries in order.
   * @param after number of the last entry that is known
   * @param since leaves out what was settled earlier
   */
  entries(
    poolId: string,
    { after, since, limit }: { readonly after: number; readonly since: number; readonly limit: number },
  ): LedgerEntry[] {
    return this.#store
      .select(entryColumns)
      .from(ledgerEntries)
      .where(
        and(eq(ledgerEntries.poolId, poolId), gt(ledgerEntries.sequence, after), gte(ledgerEntries.settledAt, since)),
      )
      .orderBy(asc(ledgerEntries.sequence))
      .limit(limit)
      .all()
  }

  /** Sums of every device with an entry. @param recent from that time on, to the day, counts as recent */
  sums(poolId: string, recent: number): CreditSums[] {
    const isRecent = sql`${creditDays.day} >= ${dayOf(recent)}`
    return this.#store
      .select({
        deviceId: creditDays.deviceId,
        earned: sql<number>`sum(${creditDays.earned})`,
        used: sql<number>`sum(${creditDays.used})`,
        recentlyEarned: sql<number>`sum(case when ${isRecent} then ${creditDays.earned} else 0 end)`,
        recentlyUsed: sql<number>`sum(case when ${isRecent} then ${creditDays.used} else 0 end)`,
      })
      .from(creditDays)
      .where(eq(creditDays.poolId, poolId))
      .groupBy(creditDays.deviceId)
      .all()
  }
}
