/**
 * Who may hold a connection to the control plane. Those over which a member or an app has proved itself stay, as many
 * as one of them needs; all others hold one of few places, and whoever has held one for longest makes room.
 */
import type { Server, Socket } from 'node:net'
import { householdOf } from '../../shared/household.ts'
import { PendingConnections, type PendingLimits } from '../../shared/pending-connections.ts'
import { putLast } from '../../shared/put-last.ts'

const connectionLimits: PendingLimits = {
  strangers: 512,
  known: 1024,
  ofHousehold: 128,
  /** A request is answered within that. */
  patienceMs: 2000,
}

/** Connections of one member or key that do not count: its streams, and what a client keeps open beside them. */
const ofOne = 160
/** Households where members were met lately. */
const mostHouseholds = 1000

/** A connection as both its own socket and one of TLS above it tell it. */
interface Ends {
  readonly remoteAddress?: string
  readonly remotePort?: number
}

const keyOf = ({ remoteAddress, remotePort }: Ends): string => `${remoteAddress} ${remotePort}`

export class Connections {
  readonly #pending: PendingConnections<Socket>
  readonly #sockets = new Map<string, Socket>()
  readonly #proved = new Map<string, Set<Socket>>()
  readonly #households = new Map<string, true>()
  readonly #now: () => number

  constructor(now: () => number, limits: PendingLimits = connectionLimits) {
    this.#pending = new PendingConnections(limits)
    this.#now = now
  }

  /** Connections over which nobody proved anything. */
  get pendingCount(): number {
    return this.#pending.size
  }

  /** Looks at each connection that comes. @param server of TCP, also where TLS is spoken on it */
  watch(server: Server): void {
    server.on('connection', (socket: Socket) => this.#arrive(socket))
  }

  /** Over that connection a request came from a member of a pool, or with a key. @param who device or key */
  proved(ends: Ends, who: string): void {
    const socket = this.#sockets.get(keyOf(ends))
    if (socket === undefined) return
    putLast(this.#households, householdOf(String(ends.remoteAddress)), true, mostHouseholds)
    const others = this.#proved.get(who) ?? new Set()
    if (others.has(socket) || others.size >= ofOne) return
    this.#pending.leave(socket)
    this.#proved.set(who, others.add(socket))
    socket.once('close', () => {
      others.delete(socket)
      if (others.size === 0 && this.#proved.get(who) === others) this.#proved.delete(who)
    })
  }

  #arrive(socket: Socket): void {
    if (socket.destroyed) return
    const household = householdOf(String(socket.remoteAddress))
    const loser = this.#pending.enter(socket, { household, isKnown: this.#households.has(household) }, this.#now())
    loser?.destroy()
    if (loser === socket) return
    const key = keyOf(socket)
    this.#sockets.set(key, socket)
    socket.once('close', () => {
      this.#pending.leave(socket)
      if (this.#sockets.get(key) === socket) this.#sockets.delete(key)
    })
  }
}
