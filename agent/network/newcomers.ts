/** Inbound connections that have yet to pass the gate: how long they have for it, and what waits until they did. */
import type { Connection } from '@libp2p/interface'
import { MeshError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { withTimeout } from '../../shared/with-timeout.ts'

export class Newcomers {
  readonly #isMember: (connection: Connection) => boolean
  /** By connection. */
  readonly #deadlines = new Map<string, NodeJS.Timeout>()
  readonly #waiting = new Map<string, PromiseWithResolvers<void>>()

  constructor(isMember: (connection: Connection) => boolean) {
    this.#isMember = isMember
  }

  /** A connection came in: it has so long to prove membership, and is ended then. */
  expect(connection: Connection): void {
    const peer = connection.remotePeer.toString()
    const timer = setTimeout(() => {
      this.#deadlines.delete(connection.id)
      if (!this.#isMember(connection))
        connection.abort(new MeshError('gateRefused', { peer, problem: 'no certificate in time' }))
    }, limits.gateMs)
    this.#deadlines.set(connection.id, timer.unref())
  }

  /** Settles when the connection passed the gate, was closed, or had time enough to pass. */
  settled({ id }: Connection): Promise<void> {
    const waiting = this.#waiting.get(id) ?? Promise.withResolvers<void>()
    this.#waiting.set(id, waiting)
    return withTimeout(waiting.promise, limits.gateMs, () => undefined)
  }

  /** It passed, or is gone. */
  settle(connectionId: string): void {
    clearTimeout(this.#deadlines.get(connectionId))
    this.#deadlines.delete(connectionId)
    this.#waiting.get(connectionId)?.resolve()
    this.#waiting.delete(connectionId)
  }

  stop(): void {
    for (const id of [...this.#deadlines.keys(), ...this.#waiting.keys()]) this.settle(id)
  }
}
