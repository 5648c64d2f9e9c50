/**
 * How many threads a compute unit (what runs the matrices of one rank) gets of the cores that are free. Pure: what is
 * measured goes in (`cpu-meter.ts`, `compute-units.ts`), a number comes out.
 *
 * The threads of a unit wait for each other at every operation, a thousand times a second. So one that has no core of
 * its own stops all, and costs more than it brings: two units of two threads on two cores are six to a hundred times as
 * slow as two of one thread. Better one thread too few than one too many.
 */

/** Another unit on the same cores. */
export interface OtherUnit {
  readonly pid: number
  /** Threads that it has work for. */
  readonly wanted: number
  /** Cores that it used; `undefined` where nothing is measured. */
  readonly load: number | undefined
}

/** Something that bounds processor time: the machine, or a control group with a quota. */
export interface CoreBound {
  /** Cores that may be used under it. */
  readonly cores: number
  /** Cores in use by all that is no agent, nor computes for one; 0 where nothing is measured. */
  readonly foreign: number
  /** Units that share it. */
  readonly others: readonly OtherUnit[]
}

export interface CoreView {
  /** Seconds, monotonic. */
  readonly now: number
  readonly bounds: readonly CoreBound[]
  /** Cores that our unit used. */
  readonly load?: number | undefined
  /** Cores that our unit wanted and did not get. */
  readonly wait?: number | undefined
}

/** Cores in use from which a unit counts as working. */
const workingLoad = 0.2
/** A unit that did nothing for so long, while ours worked, does not count until it works again. Seconds. */
const quietSeconds = 2
/** More threads only when there was room for so long; fewer at once. Seconds. */
const growSeconds = 2
/** Cores, divided by how many there are, by which a measurement must pass the border between two numbers of threads. */
const margin = 0.2

/** Part of `cores` of the first of these demands, when nobody gets more than others get that want more. */
export const fairShare = (cores: number, own: number, others: readonly number[]): number => {
  let left = cores
  const rising = others.toSorted((a, b) => a - b)
  for (const [index, demand] of rising.entries()) {
    const even = left / (rising.length - index + 1)
    if (demand >= even || own <= even) return Math.min(own, even)
    left -= demand
  }
  return Math.min(own, left)
}

/**
 * The number of threads that is fastest on so many free cores: a thread that shares its core with others stops all for
 * as long as those run, so `k` threads on `cores` do the work of k * (1 - (k - cores)).
 */
export const fastestThreads = (cores: number): number => {
  const whole = Math.max(0, Math.floor(cores))
  const more = (whole + 1) * (cores - whole)
  return Math.max(1, more > whole ? whole + 1 : whole)
}

/** Decides for one unit, measurement by measurement. */
export class ThreadChoice {
  readonly #wanted: number
  /** Seconds that other units did nothing while ours worked, by pid. */
  readonly #quiet = new Map<number, number>()
  #seenAt: number | undefined
  /** Since when there is room for more. */
  #roomSince: number | undefined
  #threads: number | undefined

  /** @param wanted threads that the unit has work for */
  constructor(wanted: number) {
    this.#wanted = wanted
  }

  /** @returns threads from now on, 1 at least */
  update(view: CoreView): number {
    const woken = this.#watch(view)
    const threadsWith = (slack: -1 | 0 | 1): number => fastestThreads(this.#share(view, slack, woken))
    const current = this.#threads
    if (current === undefined || threadsWith(1) < current) {
      this.#roomSince = undefined
      this.#threads = threadsWith(0)
      return this.#threads
    }
    const more = threadsWith(-1)
    if (more <= current) this.#roomSince = undefined
    else this.#roomSince ??= view.now
    if (this.#roomSince === undefined || view.now - this.#roomSince < growSeconds) return current
    this.#roomSince = undefined
    this.#threads = more
    return more
  }

  /** Our part of the cores that are free under the tightest bound. */
  #share({ bounds, wait = 0 }: CoreView, slack: -1 | 0 | 1, woken: boolean): number {
    const shares = bounds.map(({ cores, foreign, others }) => {
      const working = others.filter(({ pid }) => !this.#isQuiet(pid)).map(({ wanted }) => wanted)
      // who made us wait wants that core as much as we do; but what a unit took that begins to work, both give back by
      // sharing
      const demand = foreign + (woken ? 0 : Math.min(wait, foreign))
      return fairShare(cores - demand + (slack * margin) / cores, this.#wanted, working)
    })
    return Math.min(this.#wanted, ...shares)
  }

  #isQuiet(pid: number): boolean {
    return (this.#quiet.get(pid) ?? 0) >= quietSeconds
  }

  /** Notes who works. @returns true when a unit began that did not count before */
  #watch({ now, bounds, load = 0 }: CoreView): boolean {
    const elapsed = now - (this.#seenAt ?? now)
    this.#seenAt = now
    let woken = false
    const others = new Map(bounds.flatMap((bound) => bound.others.map((other) => [other.pid, other])))
    for (const pid of this.#quiet.keys()) if (!others.has(pid)) this.#quiet.delete(pid)
    for (const other of others.values()) {
      if (other.load === undefined) continue
      if (other.load >= workingLoad) {
        woken ||= this.#isQuiet(other.pid)
        this.#quiet.delete(other.pid)
      } else if (load >= workingLoad) this.#quiet.set(other.pid, (this.#quiet.get(other.pid) ?? 0) + elapsed)
    }
    return woken
  }
}
