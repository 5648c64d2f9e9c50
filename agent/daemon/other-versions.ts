/** Devices that speak another version than this one, for people to read: `mesh status` shows who must update. */
import type { MeshError } from '../../shared/errors.ts'
import type { AgentState } from '../../shared/schema/agent-state.ts'
import { putLast } from '../../shared/put-last.ts'

type Seen = NonNullable<AgentState['otherVersions']>[number]

/** A pool has few devices, and strangers must not fill the file. */
const most = 16
/** After this time nobody tried again: the device was updated or is gone. */
const keptMs = 3600e3

export class OtherVersions {
  readonly #seen = new Map<string, Seen>()
  readonly #now: () => number

  constructor(now: () => number) {
    this.#now = now
  }

  /** @returns true when that is news */
  met(peer: string, error: MeshError): boolean {
    const isNews = this.#seen.get(peer)?.message !== error.message
    putLast(this.#seen, peer, { message: error.message, hint: error.hint, at: this.#now() }, most)
    return isNews
  }

  /** It speaks our version now. */
  agrees(peer: string): void {
    this.#seen.delete(peer)
  }

  get list(): Seen[] {
    return [...this.#seen.values()].filter(({ at }) => this.#now() - at < keptMs)
  }
}
