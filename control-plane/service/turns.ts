/**
 * Whose job a ring runs next, and what each had of it: in memory, one fair queue per ring among the members by their
 * weights, and one per member and ring among its API keys and its own jobs, which are alike. So an app that floods
 * the queue delays neither others nor the prompts of the member that made its key.
 */
import type { Job } from '../../shared/schema/job.ts'
import { FairQueue, type Turn } from '../domain/fair-queue.ts'
import { RingSpeed, type Used } from '../domain/ring-speed.ts'
import type { JobQueueStore } from '../store/job-queue-store.ts'
import type { JobStore } from '../store/job-store.ts'
import type { StoredRing } from '../store/ring-store.ts'
import type { Credits } from './credits.ts'

/** Nobody knows what a job will cost; all are taken to be alike. */
const typicalTokens = 200

export interface TurnsOptions {
  readonly jobStore: JobStore
  readonly jobQueueStore: JobQueueStore
  readonly credits: Credits
}

/** What one ring had of its members. */
interface RingTurns {
  readonly members: FairQueue
  /** By member: its keys, its own jobs under the empty one. */
  readonly keys: Map<string, FairQueue>
  readonly speed: RingSpeed
  /** Of the job that runs. */
  running?: { readonly member: Turn; readonly key: Turn }
}

const newTurns = (): RingTurns => ({ members: new FairQueue(), keys: new Map(), speed: new RingSpeed() })

export class Turns {
  readonly #options: TurnsOptions
  readonly #rings = new Map<string, RingTurns>()

  constructor(options: TurnsOptions) {
    this.#options = options
  }

  /**
   * Takes the next job of that ring's queue: the oldest of the key whose turn it is, of the member whose turn it is.
   */
  next({ ringId, poolId, modelId }: StoredRing): Job | undefined {
    const { jobStore, jobQueueStore, credits } = this.#options
    const waiting = Map.groupBy(jobQueueStore.waitingByKey(poolId, modelId), ({ submittedBy }) => submittedBy)
    if (waiting.size === 0) return undefined
    const weights = credits.queueWeights(poolId)
    const ring = this.#rings.get(ringId) ?? newTurns()
    this.#rings.set(ringId, ring)
    const oldest = Array.from(waiting, ([flow, keys]) => ({ flow, since: Math.min(...keys.map(({ since }) => since)) }))
    const member = ring.members.begin(
      oldest.map(({ flow, since }) => ({ flow, since, weight: weights.get(flow) ?? 1 })),
    )
    if (!member) return undefined
    const keys = ring.keys.get(member.flow) ?? new FairQueue()
    ring.keys.set(member.flow, keys)
    const key = keys.begin(
      (waiting.get(member.flow) ?? []).map(({ keyId, since }) => ({ flow: keyId, since, weight: 1 })),
    )
    const jobId = key && jobQueueStore.next(poolId, modelId, { submittedBy: member.flow, keyId: key.flow })
    const job = jobId === undefined ? undefined : jobStore.find(jobId)
    if (key && job) ring.running = { member, key }
    return job
  }

  /** Ids of the jobs that wait for that ring, in the order in which they will have it if no other comes. */
  order({ ringId, poolId, modelId }: StoredRing): string[] {
    const { jobQueueStore, credits } = this.#options
    const flows = Map.groupBy(jobQueueStore.queue(poolId, modelId), ({ submittedBy }) => submittedBy)
    if (flows.size === 0) return []
    const weights = credits.queueWeights(poolId)
    const { members, keys, running } = this.#rings.get(ringId) ?? newTurns()
    const waiting = Array.from(flows, ([flow, queued]) => {
      const byKey = Array.from(
        Map.groupBy(queued, ({ keyId }) => keyId),
        ([keyId, ofKey]) => ({
          flow: keyId,
          since: ofKey[0].createdAt,
          weight: 1,
          jobs: ofKey.map(({ jobId }) => jobId),
        }),
      )
      const own = keys.get(flow) ?? new FairQueue()
      const ordered = own.foresee(byKey, typicalTokens, running?.member.flow === flow ? running.key : undefined)
      return { flow, since: queued[0].createdAt, weight: weights.get(flow) ?? 1, jobs: ordered }
    })
    return members.foresee(waiting, typicalTokens, running?.member)
  }

  /** The ring is gone. */
  forget(ringId: string): void {
    this.#rings.delete(ringId)
  }

  /** The job of that ring ended. A failure costs as well: it kept the ring from others. */
  end(ringId: string, used: Used): void {
    const ring = this.#rings.get(ringId)
    if (!ring?.running) return
    const { member, key } = ring.running
    const cost = ring.speed.cost(used)
    ring.members.end(member, cost)
    ring.keys.get(member.flow)?.end(key, cost)
    ring.running = undefined
  }
}
