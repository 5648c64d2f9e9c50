/** Ends jobs that stand still, or that lost somebody who does not come back. */
import { MeshError } from '../../shared/errors.ts'
import type { Loss } from '../domain/job-loss.ts'
import type { Background } from './background.ts'
import type { JobEndings } from './job-endings.ts'
import type { RunningJob, RunningJobs } from './running-jobs.ts'

export interface JobDeadlinesOptions {
  readonly runningJobs: RunningJobs
  readonly jobEndings: JobEndings
  readonly background: Background
  readonly now: () => number
  /** How long rank 0 may get on neither with reading a prompt nor with writing. */
  readonly stallMs: number
}

export class JobDeadlines {
  readonly #options: JobDeadlinesOptions

  constructor(options: JobDeadlinesOptions) {
    this.#options = options
  }

  /**
   * Ends the job when rank 0 does not get on with it.
   * @param leftMs from now on, whatever it says meanwhile; absent: since it got on last
   */
  watch(running: RunningJob, leftMs?: number): void {
    const { stallMs, now, background } = this.#options
    const waitMs = leftMs ?? Math.max(1, running.gotOnAt + stallMs - now())
    running.lookIn(waitMs, () => background.untilStored(`job/${running.jobId}`, () => this.#look(running, leftMs)))
  }

  /** Ends the job after a loss, unless the device comes back or rank 0 is heard. */
  endAfter({ afterMs, error }: Loss, running: RunningJob, awaited: string): void {
    const { runningJobs, jobEndings, background } = this.#options
    const end = (): void => {
      // also when it is tried again: whoever was waited for may be back
      if (runningJobs.isCurrent(running) && running.awaited === awaited) jobEndings.end(running, error)
    }
    running.await(awaited, afterMs, () => background.untilStored(`job/${running.jobId}`, end))
  }

  #look(running: RunningJob, leftMs: number | undefined): void {
    const { runningJobs, jobEndings, background, now, stallMs } = this.#options
    if (!runningJobs.isCurrent(running)) return
    // what it said meanwhile could not be stored: it is asked to say it again
    if (background.problem) running.excuse(now())
    if (background.problem || (leftMs === undefined && now() - running.gotOnAt < stallMs)) return this.watch(running)
    const seconds = (leftMs ?? stallMs) / 1000
    jobEndings.end(running, new MeshError('jobStalled', { peer: running.leaderName, seconds }))
  }
}
