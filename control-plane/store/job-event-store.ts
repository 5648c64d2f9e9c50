/** Event streams of jobs: appended to, read page by page, and what they add up to while a job runs. */
import { and, asc, eq, gt, max } from 'drizzle-orm'
import type { JobEvent } from '../../shared/schema/job.ts'
import type { Store, Transaction } from './database.ts'
import type { EventRow, JobTexts } from './job-texts.ts'
import { jobEvents } from './tables.ts'

/** What arrived of a job that runs. */
export interface Streamed {
  readonly text: string
  readonly tokens: number[]
}

/** The same as it grows, with the number of the last event that is in it. */
interface Known {
  text: string
  readonly tokens: number[]
  last: number
}

export class JobEventStore {
  readonly #store: Store
  readonly #texts: JobTexts
  /** Of jobs that run: each event is read and unsealed once, however often a job is asked for. */
  readonly #known = new Map<string, Known>()

  constructor(store: Store, texts: JobTexts) {
    this.#store = store
    this.#texts = texts
  }

  /** Adds the next event of a job. @param make builds it from its number */
  append(tx: Transaction, jobId: string, make: (sequence: number) => JobEvent): JobEvent {
    const last =
      tx
        .select({ last: max(jobEvents.sequence) })
        .from(jobEvents)
        .where(eq(jobEvents.jobId, jobId))
        .get()?.last ?? -1
    const event = make(last + 1)
    tx.insert(jobEvents)
      .values({ jobId, sequence: event.sequence, ...this.#texts.event(jobId, event) })
      .run()
    return event
  }

  /** Rows with a higher number than `after` in order, at most so many; of what is forgotten they hold nothing. */
  page(jobId: string, after: number, most?: number): EventRow[] {
    const isMeant = and(eq(jobEvents.jobId, jobId), gt(jobEvents.sequence, after))
    const query = this.#store.select().from(jobEvents).where(isMeant).orderBy(asc(jobEvents.sequence))
    return most === undefined ? query.all() : query.limit(most).all()
  }

  /**
   * Text and tokens that arrived of a job that has not ended. Not for a transaction that appended before: what is read
   * here is kept, and a transaction may come to nothing.
   */
  streamed(jobId: string): Streamed {
    const known = this.#known.get(jobId) ?? { text: '', tokens: [], last: -1 }
    this.#known.set(jobId, known)
    for (const row of this.page(jobId, known.last)) {
      const piece = this.#texts.tokensIn(row)
      known.text += piece?.text ?? ''
      known.tokens.push(...(piece?.tokens ?? []))
      known.last = row.sequence
    }
    return { text: known.text, tokens: [...known.tokens] }
  }

  /** The job ended: its row holds its answer. */
  settle(jobId: string): void {
    this.#known.delete(jobId)
  }
}
