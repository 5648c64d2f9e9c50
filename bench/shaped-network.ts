/**
 * Links between the ranks of a benchmark as they are between homes: each rank has one way out, all links are as long.
 */
import { ShapedLink, Uplink } from './shaped-link.ts'

export interface LinkShape {
  /** Of a round trip; half of it each way. */
  readonly rttMs: number
  /** Megabits a second that leave one rank, to all others together; 0: no limit. */
  readonly mbit: number
}

export class ShapedNetwork {
  readonly #delayMs: number
  readonly #uplinks: readonly Uplink[]
  readonly #links: ShapedLink[] = []

  constructor({ rttMs, mbit }: LinkShape, ranks: number) {
    this.#delayMs = rttMs / 2
    this.#uplinks = Array.from({ length: ranks }, () => new Uplink(mbit))
  }

  /** @returns the port by which one rank reaches that port of another */
  async route(from: number, to: number, port: number): Promise<number> {
    const link = new ShapedLink({ port, delayMs: this.#delayMs, uplinks: [this.#uplinks[from], this.#uplinks[to]] })
    this.#links.push(link)
    return link.listen()
  }

  close(): void {
    for (const link of this.#links) link.close()
  }
}
