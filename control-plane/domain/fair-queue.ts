/**
 * Whose job a ring runs next: start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996).
 *
 * Every flow (a member) has a finish tag. A job starts at max(virtual time, finish tag of its flow), and when it has
 * ended moves that tag to start + cost / weight. The flow with the least start goes first, and its start becomes the
 * virtual time. So flows that always have work get throughput in proportion to their weights, a flow alone gets all of
 * it, and one that was idle neither saves up nor owes anything. The cost need not be known before: that is why this
 * method, an answer ends when it ends. Nobody waits longer because somebody else queues more jobs.
 */

/** Who waits for the ring, with one job at least. */
export interface Flow {
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
  readonly start: number
}

/** The queue of one ring, which runs one job at a time. */
export class FairQueue {
  /** Finish tags; those that the virtual time has passed are forgotten. */
  readonly #finish = new Map<string, number>()
  #virtual = 0

  /** A job of the flow whose turn it is begins; `undefined` when nobody waits. */
  begin(waiting: readonly Flow[]): Turn | undefined {
    const [next] = waiting.toSorted(
      (a, b) => this.#startOf(a.flow) - this.#startOf(b.flow) || a.since - b.since || (a.flow < b.flow ? -1 : 1),
    )
    if (!next) return undefined
    const start = this.#startOf(next.flow)
    this.#virtual = start
    for (const [flow, finish] of this.#finish) if (finish <= start) this.#finish.delete(flow)
    return { flow: next.flow, weight: next.weight, start }
  }

  /** It ended. @param cost in tokens */
  end({ flow, weight, start }: Turn, cost: number): void {
    this.#finish.set(flow, start + cost / weight)
  }

  /**
   * In which order the jobs that wait will begin, if no other comes and each costs the same. Changes nothing.
   * @param flows whose `jobs` are in the order of that flow
   * @param running the turn that has not ended
   */
  foresee<Job>(flows: readonly (Flow & { readonly jobs: readonly Job[] })[], cost: number, running?: Turn): Job[] {
    const queue = new FairQueue()
    queue.#virtual = this.#virtual
    for (const [flow, finish] of this.#finish) queue.#finish.set(flow, finish)
    if (running) queue.end(running, cost)
    const left = new Map(flows.map(({ flow, jobs }) => [flow, [...jobs]]))
    const order: Job[] = []
    for (;;) {
      const turn = queue.begin(flows.filter(({ flow }) => (left.get(flow) ?? []).length > 0))
      if (!turn) return order
      order.push(...(left.get(turn.flow) ?? []).splice(0, 1))
      queue.end(turn, cost)
    }
  }

  #startOf(flow: string): number {
    return Math.max(this.#virtual, this.#finish.get(flow) ?? 0)
  }
}
