/** The job that each ring runs: what rings and jobs both ask, and neither of the other. */
import { type JobNews, type JobWatch, jobWatched, jobWatchFrom, mostOf, type MostTokens } from '../domain/job-watch.ts'
import type { StoredRing } from '../store/ring-store.ts'

export class RunningJob {
  readonly jobId: string
  readonly ringId: string
  /** The device of rank 0. */
  readonly leader: string
  readonly leaderName: string
  /** When the ring got it. */
  readonly since: number
  readonly #most: MostTokens
  #watch: JobWatch
  #awaited: string | undefined
  #end: NodeJS.Timeout | undefined
  #look: NodeJS.Timeout | undefined

  constructor(ring: StoredRing, job: { readonly jobId: string; readonly maxTokens: number }, now: number) {
    this.jobId = job.jobId
    this.ringId = ring.ringId
    this.leader = ring.members[0].deviceId
    this.leaderName = ring.members[0].name
    this.since = now
    this.#most = mostOf(ring.model.shape.context, job)
    this.#watch = jobWatchFrom(now)
  }

  /** When rank 0 got on for the last time. */
  get gotOnAt(): number {
    return this.#watch.at
  }

  /** The device whose loss ends the job, unless it comes back or rank 0 is heard. */
  get awaited(): string | undefined {
    return this.#awaited
  }

  gotOn(news: JobNews, now: number): void {
    this.#watch = jobWatched(this.#watch, news, this.#most, now)
  }

  /** What rank 0 said meanwhile could not be heard: that does not count as standing still. */
  excuse(now: number): void {
    this.#watch = { ...this.#watch, at: now }
  }

  /** @param end called after that time, unless it is waited for nobody or somebody else by then */
  await(deviceId: string, ms: number, end: () => void): void {
    this.stopWaiting()
    this.#awaited = deviceId
    this.#end = setTimeout(end, ms).unref()
  }

  stopWaiting(): void {
    clearTimeout(this.#end)
    this.#awaited = undefined
  }

  /** Only the latest call counts. */
  lookIn(ms: number, look: () => void): void {
    clearTimeout(this.#look)
    this.#look = setTimeout(look, ms).unref()
  }

  /** Nothing is waited for any more. */
  stop(): void {
    this.stopWaiting()
    clearTimeout(this.#look)
  }
}

export class RunningJobs {
  readonly #byRing = new Map<string, RunningJob>()

  isBusy(ringId: string): boolean {
    return this.#byRing.has(ringId)
  }

  on(ringId: string): RunningJob | undefined {
    return this.#byRing.get(ringId)
  }

  find(jobId: string): RunningJob | undefined {
    return this.all().find((running) => running.jobId === jobId)
  }

  all(): RunningJob[] {
    return [...this.#byRing.values()]
  }

  /** It is the job of its ring still. */
  isCurrent(running: RunningJob): boolean {
    return this.#byRing.get(running.ringId) === running
  }

  add(running: RunningJob): void {
    this.#byRing.set(running.ringId, running)
  }

  /** It ended. */
  delete(running: RunningJob): void {
    running.stop()
    this.#byRing.delete(running.ringId)
  }

  stop(): void {
    for (const running of this.all()) running.stop()
  }
}
