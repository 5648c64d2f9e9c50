/**
 * Where one device may be reached: the addresses that somebody who knows it told, and those that multicast DNS brought,
 * where anybody may speak in its name. Neither kind takes the places of the other.
 */
import { putLast } from '../../shared/put-last.ts'
import type { FoundBy } from '../../shared/schema/known-peers.ts'

/** Most addresses of either kind: networks between which a device moves, and interfaces that a machine has. */
export const mostAddresses = 16
export const mostAnnounced = 8

export class Whereabouts {
  readonly #told = new Map<string, FoundBy>()
  readonly #announced = new Map<string, FoundBy>()
  #isAnnouncedLast = false

  get isEmpty(): boolean {
    return this.#told.size + this.#announced.size === 0
  }

  has(address: string): boolean {
    return this.foundBy(address) !== undefined
  }

  /** How the address was found first. */
  foundBy(address: string): FoundBy | undefined {
    return this.#told.get(address) ?? this.#announced.get(address)
  }

  /** Addresses that are not from multicast DNS, or led to the device. */
  get told(): readonly string[] {
    return [...this.#told.keys()]
  }

  /** Keeps how it was found first, and counts as the newest; the oldest of its kind goes when there are too many. */
  add(address: string, found: FoundBy): void {
    const isTold = found !== 'mdns' || this.#told.has(address)
    this.#isAnnouncedLast = !isTold
    if (!isTold) return putLast(this.#announced, address, found, mostAnnounced)
    putLast(this.#told, address, this.foundBy(address) ?? found, mostAddresses)
    this.#announced.delete(address)
  }

  /** It led to the device. */
  worked(address: string): void {
    const found = this.#announced.get(address)
    if (found === undefined) return
    this.#announced.delete(address)
    putLast(this.#told, address, found, mostAddresses)
  }

  /** In the order in which they are worth trying: the newest first, of both kinds in turn. */
  inTurn(): string[] {
    const [told, announced] = [this.#told, this.#announced].map((kind) => [...kind.keys()].toReversed())
    const [first, second] = this.#isAnnouncedLast ? [announced, told] : [told, announced]
    return Array.from({ length: Math.max(first.length, second.length) }, (_, index) => [first[index], second[index]])
      .flat()
      .filter((address) => address !== undefined)
  }
}
