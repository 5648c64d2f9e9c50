/** Whose job a ring runs next, and what each had of it: one fair queue per ring, in memory. */
import type { Job } from '../../shared/schema/job.ts'
import { FairQueue, type Turn } from '../domain/fair-queue.ts'
import type { JobStore } from '../store/job-store.ts'
import type { StoredRing } from '../store/ring-store.ts'
import type { Credits } from './credits.ts'

/** Nobody knows what a job will cost; all are taken to be alike. */
const typicalTokens = 200

export interface TurnsOptions {
  readonly jobs: JobStore
  readonly credits: Credits
}

export class Turns {
  readonly #options: TurnsOptions
  readonly #queues = new Map<string, FairQueue>()
  readonly #turns = new Map<string, Turn>()

  constructor(options: TurnsOptions) {
    this.#options = options
  }

  /** Takes the next job of that ring's queue: the oldest of the member whose turn it is. */
  next({ ringId, poolId, modelId }: StoredRing): Job | undefined {
    const { jobs, credits } = this.#options
    const waiting = jobs.waitingBySubmitter(poolId, modelId)
    if (waiting.length === 0) return undefined
    const weights = credits.queueWeights(poolId)
    const queue = this.#queues.get(ringId) ?? new FairQueue()
    this.#queues.set(ringId, queue)
    const turn = queue.begin(waiting.map(({ submittedBy, since }) => ({ flow: submittedBy, since, weight: weights.get(submittedBy) ?? 1 })))
    const job = turn && jobs.next(poolId, modelId, turn.flow)
    if (turn && job) this.#turns.set(ringId, turn)
    return job
  }

  /** Ids of the jobs that wait for that ring, in the order in which they will have it if no other comes. */
  order({ ringId, poolId, modelId }: StoredRing): string[] {
    const { jobs, credits } = this.#options
    const flows = Map.groupBy(jobs.queue(poolId, modelId), ({ submittedBy }) => submittedBy)
    if (flows.size === 0) return []
    const weights = credits.queueWeights(poolId)
    const waiting = Array.from(flows, ([flow, queued]) => ({ flow, since: queued[0].createdAt, weight: weights.get(flow) ?? 1, jobs: queued.map(({ jobId }) => jobId) }))
    return (this.#queues.get(ringId) ?? new FairQueue()).foresee(waiting, typicalTokens, this.#turns.get(ringId))
  }

  /** The ring is gone. */
  forget(ringId: string): void {
    this.#queues.delete(ringId)
    this.#turns.delete(ringId)
  }

  /** The job of that ring ended. @param tokens that it had, prompt and answer */
  end(ringId: string, tokens: number): void {
    const turn = this.#turns.get(ringId)
    if (turn) this.#queues.get(ringId)?.end(turn, tokens)
    this.#turns.delete(ringId)
  }
}
