/**
 * What one sender may cost us: token buckets, by whoever it is. Units come back steadily up to a most; an act takes
 * some, and who has none left waits. Neither an address nor a device can use what belongs to the others.
 */
import { putLast } from '../../shared/put-last.ts'

export interface Budget {
  /** Units that a sender which was quiet for long may use at once. */
  readonly most: number
  readonly perSecond: number
}

/** Senders that are remembered; the one that was quiet for longest makes room, and starts anew with a full budget. */
const mostSenders = 10_000

interface Level {
  readonly units: number
  readonly at: number
}

export class Budgets {
  readonly #budget: Budget
  readonly #levels = new Map<string, Level>()

  constructor(budget: Budget) {
    this.#budget = budget
  }

  /** Milliseconds until the sender has so many units; 0: now. */
  waitMs(sender: string, units: number, now: number): number {
    return Math.max(0, Math.ceil(((units - this.#unitsOf(sender, now)) / this.#budget.perSecond) * 1000))
  }

  /** Takes units, also those that are not there: what a refusal cost is paid before the next act. */
  charge(sender: string, units: number, now: number): void {
    const left = Math.max(this.#unitsOf(sender, now) - units, -this.#budget.most)
    putLast(this.#levels, sender, { units: left, at: now }, mostSenders)
  }

  #unitsOf(sender: string, now: number): number {
    const level = this.#levels.get(sender)
    if (!level) return this.#budget.most
    return Math.min(this.#budget.most, level.units + (Math.max(0, now - level.at) / 1000) * this.#budget.perSecond)
  }
}
