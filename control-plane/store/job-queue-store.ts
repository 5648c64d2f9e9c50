/** Jobs that wait, as queues ask for them: by whom, how many, since when, without what they ask. */
import { and, asc, count, eq, isNull, sql, type SQL } from 'drizzle-orm'
import type { Queued, QueueOwner } from '../domain/queue-limits.ts'
import type { Store } from './database.ts'
import { jobs } from './tables.ts'

type Row = typeof jobs.$inferSelect

/** Whose queue: an API key of a device, or (empty) its own jobs. */
export type QueuedBy = Pick<Row, 'submittedBy' | 'keyId'>

export class JobQueueStore {
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  /** What waits in a pool: in all, of the device that asks with all of its keys, and of the key that it came by. */
  queued(poolId: string, submittedBy: string, keyId: string): Record<QueueOwner, Queued> {
    const isMember = sql`${jobs.submittedBy} = ${submittedBy}`
    const sumOf = (value: SQL, isMeant: SQL): SQL<number> =>
      sql<number>`coalesce(sum(case when ${isMeant} then ${value} else 0 end), 0)`
    // octet_length reads the length alone: no prompt is loaded for it
    const [one, bytes] = [sql`1`, sql`octet_length(${jobs.submission}) + coalesce(octet_length(${jobs.asked}), 0)`]
    const isKey = sql`${isMember} and ${jobs.keyId} = ${keyId}`
    const sums = this.#store
      .select({
        jobs: sumOf(one, sql`true`),
        bytes: sumOf(bytes, sql`true`),
        jobsOfMember: sumOf(one, isMember),
        bytesOfMember: sumOf(bytes, isMember),
        jobsOfKey: sumOf(one, isKey),
        bytesOfKey: sumOf(bytes, isKey),
      })
      .from(jobs)
      .where(and(eq(jobs.poolId, poolId), eq(jobs.state, 'queued')))
      .get()
    return {
      pool: { jobs: sums?.jobs ?? 0, bytes: sums?.bytes ?? 0 },
      member: { jobs: sums?.jobsOfMember ?? 0, bytes: sums?.bytesOfMember ?? 0 },
      key: { jobs: sums?.jobsOfKey ?? 0, bytes: sums?.bytesOfKey ?? 0 },
    }
  }

  queuedInAll(): number {
    return this.#store.select({ jobs: count() }).from(jobs).where(eq(jobs.state, 'queued')).get()?.jobs ?? 0
  }

  /** Ids of all jobs that wait for a ring of that model. */
  waiting(poolId: string, modelId: string): string[] {
    return this.#store
      .select({ jobId: jobs.jobId })
      .from(jobs)
      .where(and(eq(jobs.poolId, poolId), eq(jobs.modelId, modelId), eq(jobs.state, 'queued')))
      .all()
      .map(({ jobId }) => jobId)
  }

  /** Jobs that wait for a ring of that model, oldest first. */
  queue(poolId: string, modelId: string): Pick<Row, 'jobId' | 'submittedBy' | 'keyId' | 'createdAt'>[] {
    return this.#store
      .select({ jobId: jobs.jobId, submittedBy: jobs.submittedBy, keyId: jobs.keyId, createdAt: jobs.createdAt })
      .from(jobs)
      .where(and(eq(jobs.poolId, poolId), eq(jobs.modelId, modelId), eq(jobs.state, 'queued')))
      .orderBy(asc(jobs.createdAt), asc(jobs.jobId))
      .all()
  }

  /** Who has jobs in the queue of a pool. */
  waitingBySubmitter(poolId: string): { readonly submittedBy: string; readonly jobs: number }[] {
    return this.#store
      .select({ submittedBy: jobs.submittedBy, jobs: count() })
      .from(jobs)
      .where(and(eq(jobs.poolId, poolId), eq(jobs.state, 'queued')))
      .groupBy(jobs.submittedBy)
      .all()
  }

  /** Who has jobs in the queue of a model, and since when the oldest waits: each key by itself. */
  waitingByKey(poolId: string, modelId: string): (QueuedBy & { readonly since: number })[] {
    return this.#store
      .select({ submittedBy: jobs.submittedBy, keyId: jobs.keyId, since: sql<number>`min(${jobs.createdAt})` })
      .from(jobs)
      .where(and(eq(jobs.poolId, poolId), eq(jobs.modelId, modelId), eq(jobs.state, 'queued')))
      .groupBy(jobs.submittedBy, jobs.keyId)
      .all()
  }

  /** The job of that queue that waits for longest. */
  next(poolId: string, modelId: string, { submittedBy, keyId }: QueuedBy): string | undefined {
    const isTheirs = and(eq(jobs.submittedBy, submittedBy), eq(jobs.keyId, keyId))
    return this.#store
      .select({ jobId: jobs.jobId })
      .from(jobs)
      .where(and(eq(jobs.poolId, poolId), eq(jobs.modelId, modelId), eq(jobs.state, 'queued'), isTheirs))
      .orderBy(asc(jobs.createdAt), asc(jobs.jobId))
      .get()?.jobId
  }

  /** Jobs of an API key that have not ended. */
  openOfKey(keyId: string): string[] {
    return this.#store
      .select({ jobId: jobs.jobId })
      .from(jobs)
      .where(and(eq(jobs.keyId, keyId), isNull(jobs.finishedAt)))
      .all()
      .map(({ jobId }) => jobId)
  }
}
