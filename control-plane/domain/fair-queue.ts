/**
 * Whose job a ring runs next: start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996).
 *
 * Every flow (a member) has a finish tag; a job starts at max(virtual time, finish tag of its flow) and moves that tag
 * on by cost / weight. The flow with the least start tag goes first, and its start tag becomes the virtual time. So
 * flows that always have work get throughput in proportion to their weights, a flow alone gets all of it, and one that
 * was idle neither saves up nor owes anything. The cost need not be known in advance, which is why this method: an
 * answer ends when it ends. No member waits longer than its share because others queue more jobs.
 */

/** Who waits for the ring, with one job at least. */
export interface Waiting {
  readonly flow: string
  /** Above zero; only proportions matter. */
  readonly weight: number
  /** Time of its oldest job: who waits longer goes first where tags are equal. */
  readonly since: number
}

/** A job that runs. */
export interface Turn {
  readonly flow: string
  readonly weight: number
  /** What it was expected to cost. */
  readonly cost: number
}

/** The queue of one ring, which runs one job at a time. */
export class FairQueue {
  /** Finish tags; those that the virtual time has passed are forgotten. */
  readonly #finish = new Map<string, number>()
  #virtual = 0

  /** The flow that goes next; `undefined` when nobody waits. */
  next(waiting: readonly Waiting[]): Waiting | undefined {
    return waiting.toSorted((a, b) => this.#startOf(a.flow) - this.#startOf(b.flow) || a.since - b.since || (a.flow < b.flow ? -1 : 1))[0]
  }

  /** A job of that flow begins. @param cost in tokens, as far as that can be said now */
  begin({ flow, weight }: Waiting, cost: number): Turn {
    const start = this.#startOf(flow)
    this.#virtual = start
    for (const [other, finish] of this.#finish) if (finish <= start) this.#finish.delete(other)
    this.#finish.set(flow, start + cost / weight)
    return { flow, weight, cost }
  }

  /** It ended: what it cost in truth is what counts. */
  end({ flow, weight, cost }: Turn, trueCost: number): void {
    const finish = this.#finish.get(flow)
    if (finish !== undefined) this.#finish.set(flow, finish + (trueCost - cost) / weight)
  }

  #startOf(flow: string): number {
    return Math.max(this.#virtual, this.#finish.get(flow) ?? 0)
  }
}
