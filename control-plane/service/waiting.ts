/** What jobs wait for: told to who follows them, whenever it changes. */
import type { Job, JobWaiting } from '../../shared/schema/job.ts'
import { finalStates } from '../domain/job-state.ts'
import type { JobQueueStore } from '../store/job-queue-store.ts'
import type { RingStore, StoredRing } from '../store/ring-store.ts'
import type { Background } from './background.ts'
import type { Events } from './events.ts'
import type { JobHub } from './job-hub.ts'
import type { LiveRings } from './live-rings.ts'
import type { RunningJobs } from './running-jobs.ts'
import type { Turns } from './turns.ts'

export interface WaitingOptions {
  readonly jobQueueStore: JobQueueStore
  readonly ringStore: RingStore
  readonly liveRings: LiveRings
  readonly runningJobs: RunningJobs
  readonly turns: Turns
  readonly hub: JobHub
  readonly background: Background
  readonly events: Events
}

/** Milliseconds within which changes are told as one: a queue of many moves with each job. */
const settleMs = 50

export class Waiting {
  readonly #options: WaitingOptions
  readonly #changed = new Set<string>()
  #timer: NodeJS.Timeout | undefined

  constructor(options: WaitingOptions) {
    this.#options = options
    const all = (): void => {
      for (const { ringId } of options.ringStore.all()) this.changed(ringId)
    }
    options.background.onTrouble(all)
    options.background.onRecovery(all)
    options.events.on('ringEvaluated', (ringId) => this.changed(ringId))
  }

  /** What a job waits for now; `undefined` when it has ended. */
  of({
    jobId,
    poolId,
    submission,
    state,
  }: Pick<Job, 'jobId' | 'poolId' | 'submission' | 'state'>): JobWaiting | undefined {
    if (finalStates.includes(state)) return undefined
    if (state !== 'queued') return this.#ofRunning()
    const ring = this.#options.ringStore.findByModel(poolId, submission.modelId)
    return ring && this.#ofQueue(ring).get(jobId)
  }

  /** The ring, or the queue for it, is not as it was. */
  changed(ringId: string): void {
    this.#changed.add(ringId)
    const { background } = this.#options
    this.#timer ??= setTimeout(() => background.run('telling who waits', () => this.#tell()), settleMs).unref()
  }

  stop(): void {
    clearTimeout(this.#timer)
  }

  #tell(): void {
    const { ringStore, jobQueueStore, runningJobs, hub } = this.#options
    this.#timer = undefined
    const ringIds = [...this.#changed]
    this.#changed.clear()
    for (const ringId of ringIds) {
      const running = runningJobs.on(ringId)
      if (running) hub.tell(running.jobId, this.#ofRunning())
      const ring = ringStore.find(ringId)
      // who foresees the queue reads all of it: only where somebody wants to know
      if (!ring || !jobQueueStore.waiting(ring.poolId, ring.modelId).some((jobId) => hub.isAsked(jobId))) continue
      for (const [jobId, waiting] of this.#ofQueue(ring)) hub.tell(jobId, waiting)
    }
  }

  /** Nothing but the storage keeps a job waiting that a ring has. */
  #ofRunning(): JobWaiting {
    return { type: 'waiting', before: 0, reason: this.#options.background.problem?.message ?? '' }
  }

  #ofQueue(ring: StoredRing): Map<string, JobWaiting> {
    const { liveRings, runningJobs, turns, background } = this.#options
    const running = runningJobs.isBusy(ring.ringId) ? 1 : 0
    const error = liveRings.obstacle(ring.ringId)
    const reason = error?.message ?? background.problem?.message ?? liveRings.reason(ring.ringId)
    return new Map(
      turns
        .order(ring)
        .map((jobId, index) => [
          jobId,
          { type: 'waiting', before: running + index, reason, ...(error ? { error: error.toReport() } : {}) },
        ]),
    )
  }
}
