/** Connections to the port that asked for nothing yet. */
import type { Socket } from 'node:net'
import { householdOf } from '../../shared/household.ts'
import { limits } from '../../shared/limits.ts'

/** Connections that have not come as far as a request: how many there are, by where they come from. */
export class WaitingConnections {
  readonly #sockets = new Map<Socket, string>()
  readonly #counts = new Map<string, number>()

  /** False where one sender, or all together, have too many: the newest goes, those that came before are served. */
  add(socket: Socket): boolean {
    const household = householdOf(socket.remoteAddress ?? '')
    const count = this.#counts.get(household) ?? 0
    if (count >= limits.waitingConnectionsOfAddress || this.#sockets.size >= limits.waitingConnections) return false
    this.#sockets.set(socket, household)
    this.#counts.set(household, count + 1)
    return true
  }

  delete(socket: Socket): void {
    const household = this.#sockets.get(socket)
    if (household === undefined) return
    this.#sockets.delete(socket)
    const count = (this.#counts.get(household) ?? 1) - 1
    if (count === 0) this.#counts.delete(household)
    else this.#counts.set(household, count)
  }

  destroyAll(): void {
    for (const socket of this.#sockets.keys()) socket.destroy()
  }
}
