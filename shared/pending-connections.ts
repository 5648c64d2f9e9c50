/**
 * Who may hold a connection that has yet to prove itself. Strangers can open as many as they like, so the places are
 * few, each household has a part of them, and addresses where members were met have places of their own: whoever comes
 * finds one, and somebody else loses it.
 */

export interface PendingLimits {
  /** Places for addresses that nobody knows. */
  readonly strangers: number
  /** Places for addresses where members were met. */
  readonly known: number
  /** Places of strangers that one household may hold. */
  readonly ofHousehold: number
  /** Milliseconds that an honest newcomer needs to prove itself: whoever holds a place for longer loses it first. */
  readonly patienceMs: number
}

export interface Newcomer {
  readonly household: string
  /** A member was met there before. */
  readonly isKnown: boolean
}

interface Entry extends Newcomer {
  readonly since: number
}

export interface Pace {
  /** Acts a second of a household where members were met, which they share with whoever else is there. */
  readonly known: number
  /** Acts a second of another household. */
  readonly stranger: number
  /** Acts a second of all addresses together that nobody knows. */
  readonly strangers: number
}

/** Counts what newcomers make us do, second by second. */
export class NewcomerPace {
  readonly #pace: Pace
  readonly #households = new Map<string, number>()
  #strangers = 0
  #second = 0

  constructor(pace: Pace) {
    this.#pace = pace
  }

  /** @returns false when it is too much for this second */
  allows({ household, isKnown }: Newcomer, now: number): boolean {
    const second = Math.floor(now / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#strangers = 0
      this.#households.clear()
    }
    const acts = this.#households.get(household) ?? 0
    const { known, stranger, strangers } = this.#pace
    if (isKnown ? acts >= known : acts >= stranger || this.#strangers >= strangers) return false
    this.#households.set(household, acts + 1)
    if (!isKnown) this.#strangers++
    return true
  }
}

interface Group extends Newcomer {
  /** Oldest first. */
  readonly members: Set<object>
}

/** @param lot a number from 0 to below 1 */
export class PendingConnections<Connection extends object> {
  readonly #limits: PendingLimits
  readonly #lot: () => number
  readonly #entries = new Map<Connection, Entry>()
  /** By household and kind. */
  readonly #groups = new Map<string, Group>()
  #known = 0

  constructor(limits: PendingLimits, lot: () => number = Math.random) {
    this.#limits = limits
    this.#lot = lot
  }

  get size(): number {
    return this.#entries.size
  }

  all(): Connection[] {
    return [...this.#entries.keys()]
  }

  /** Who it is; `undefined` when it holds no place. */
  newcomer(connection: Connection): Newcomer | undefined {
    return this.#entries.get(connection)
  }

  /**
   * A connection came.
   * @returns who has no place: a connection that has to go, which may be this one; `undefined` when there was room
   */
  enter(connection: Connection, newcomer: Newcomer, now: number): Connection | undefined {
    const rivals = this.#rivalsOf(newcomer)
    const loser = rivals && this.#loserOf([...(rivals.members as Set<Connection>)], now, connection)
    if (loser === connection) return connection
    if (loser !== undefined) this.leave(loser)
    this.#entries.set(connection, { ...newcomer, since: now })
    const group = this.#groups.get(keyOf(newcomer)) ?? { ...newcomer, members: new Set() }
    this.#groups.set(keyOf(newcomer), group)
    group.members.add(connection)
    if (newcomer.isKnown) this.#known++
    return loser
  }

  /** It proved itself, or is gone. */
  leave(connection: Connection): void {
    const entry = this.#entries.get(connection)
    if (entry === undefined) return
    this.#entries.delete(connection)
    if (entry.isKnown) this.#known--
    const members = this.#groups.get(keyOf(entry))?.members
    members?.delete(connection)
    if (members?.size === 0) this.#groups.delete(keyOf(entry))
  }

  /** Those of whom one has to go: of the household when its part is full, else of the one that holds most. */
  #rivalsOf(newcomer: Newcomer): Group | undefined {
    const { strangers, known, ofHousehold } = this.#limits
    const mates = this.#groups.get(keyOf(newcomer))
    if (!newcomer.isKnown && mates && mates.members.size >= ofHousehold) return mates
    const isFull = newcomer.isKnown ? this.#known >= known : this.size - this.#known >= strangers
    if (!isFull) return undefined
    const kind = [...this.#groups.values()].filter(({ isKnown }) => isKnown === newcomer.isKnown)
    return kind.reduce((most, one) => (one.members.size > most.members.size ? one : most))
  }

  /**
   * The oldest where it had time enough. Else somebody opens them faster than anybody can prove itself: then the lot
   * decides, the newcomer among them, so that how fast they come gains no place for good.
   */
  #loserOf(rivals: readonly Connection[], now: number, newcomer: Connection): Connection {
    const [oldest] = rivals
    const since = this.#entries.get(oldest)?.since ?? now
    if (now - since >= this.#limits.patienceMs) return oldest
    return [...rivals, newcomer][Math.floor(this.#lot() * (rivals.length + 1))]
  }
}

const keyOf = ({ household, isKnown }: Newcomer): string => `${isKnown} ${household}`
