/**
 * How often the control plane hears of loading: at each step at once, else every few seconds, and only of what moved.
 */
import type { Loading } from '../../shared/schema/ring.ts'

/** Steps of loading that are worth a message. */
const progressStep = 0.05
/** Well within the time in which a control plane wants to see it move; it costs a few hundred bytes. */
const everyMs = 3000

interface Progress {
  readonly progress: number
  readonly loading?: Loading
}

interface Sent extends Progress {
  readonly summary: string
  readonly at: number
}

const movedOf = ({ progress, loading }: Progress): string =>
  `${progress}/${loading?.phase}/${loading?.bytes}/${loading?.totalBytes}`

export class ReportPace {
  readonly #now: () => number
  readonly #sent = new Map<string, Sent>()

  constructor(now: () => number) {
    this.#now = now
  }

  /** @param summary of all but the progress: a change of it is told at once */
  isDue(ringId: string, summary: string, progress: Progress): boolean {
    const full = `${summary}/${progress.loading?.phase}/${progress.loading?.missing?.join() ?? ''}/${Math.floor(progress.progress / progressStep)}`
    const before = this.#sent.get(ringId)
    const isOld = before !== undefined && this.#now() - before.at >= everyMs && movedOf(before) !== movedOf(progress)
    if (before?.summary === full && !isOld) return false
    this.#sent.set(ringId, { ...progress, summary: full, at: this.#now() })
    return true
  }

  forget(ringId: string): void {
    this.#sent.delete(ringId)
  }
}
