/** What the checks of one rank say about it, and when that is enough to name it. */
import { grossError } from './compare.ts'

/** Checks that are looked back on. */
const remembered = 8
/** So many wrong ones among them are no accident of rounding; of gross ones, one is enough. */
const enough = 2
/** Jobs that are told. */
const keptJobs = 16

export interface CheckResult {
  /** As a fraction of the norm of the part. */
  readonly error: number
  readonly tolerance: number
  readonly jobId?: string
}

export class Evidence {
  checks = 0
  wrong = 0
  /** The largest error so far. */
  worst = 0
  /** Its sums are wrong: stays, for this epoch. */
  isWrong = false
  readonly #last: boolean[] = []
  readonly #jobs = new Set<string>()

  /** @returns whether it was wrong */
  add({ error, tolerance, jobId }: CheckResult): boolean {
    const isWrong = !(error <= tolerance) // NaN is wrong too
    this.checks++
    this.worst = Math.max(this.worst, Number.isFinite(error) ? error : Number.MAX_VALUE)
    this.#last.push(isWrong)
    if (this.#last.length > remembered) this.#last.shift()
    if (!isWrong) return false
    this.wrong++
    if (jobId !== undefined) {
      this.#jobs.add(jobId)
      if (this.#jobs.size > keptJobs) this.#jobs.delete(this.#jobs.values().next().value as string)
    }
    if (!(error <= grossError) || this.#last.filter(Boolean).length >= enough) this.isWrong = true
    return true
  }

  /** Jobs in which it was found wrong, the newest last. */
  get jobs(): string[] {
    return [...this.#jobs]
  }
}
