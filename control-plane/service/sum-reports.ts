/** What follows from what ranks report of each other's sums. */
import type { Credits } from './credits.ts'
import type { JobLeaders } from './job-leaders.ts'
import type { RingReports } from './ring-reports.ts'
import type { SumChecks } from './sum-checks.ts'

export interface SumReportsOptions {
  readonly sums: SumChecks
  readonly credits: Credits
  readonly jobLeaders: JobLeaders
  readonly ringReports: RingReports
}

export class SumReports {
  readonly #options: SumReportsOptions

  constructor(options: SumReportsOptions) {
    this.#options = options
  }

  /**
   * Where the sums of a member are wrong, the ring goes on without it, what runs fails, and it earns nothing of what it
   * worked on.
   */
  receive(deviceId: string, report: Parameters<SumChecks['receive']>[1]): void {
    const { sums, credits, jobLeaders, ringReports } = this.#options
    for (const wrong of sums.receive(deviceId, report)) {
      for (const jobId of wrong.jobs) credits.spoil(jobId, wrong.deviceId)
      jobLeaders.failRunning(wrong.ringId, wrong.error)
      ringReports.leaveOut(wrong.ringId, wrong.deviceId, wrong.error)
    }
  }
}
