/**
 * Who may hold a connection or a slot of a relay. A connection that neither proved membership nor holds a slot has one
 * of few places (`shared/pending-connections.ts`); at a relay for everyone one household gets half of the slots.
 */
import type { Connection, ConnectionGater, Libp2p, MultiaddrConnection, PeerId } from '@libp2p/interface'
import { householdOf } from '../shared/household.ts'
import { ipOf } from '../shared/peer-address.ts'
import { PendingConnections } from '../shared/pending-connections.ts'

export interface RelayDoorOptions {
  /** Places for connections that hold no slot. */
  readonly places: number
  readonly maxReservations: number
  /** What a relay for some pools asks besides; absent: it serves everyone. */
  readonly inner?: ConnectionGater
  /** Peers that hold a slot now. */
  holders(): Iterable<PeerId>
}

const patienceMs = 2000
/** Who runs a relay may take all of its slots. */
const ownMachine = '127.0.0.1'

export class RelayDoor {
  readonly #options: RelayDoorOptions
  readonly #pending: PendingConnections<MultiaddrConnection>
  /** A connection and the socket below it have the same record of times. */
  readonly #sockets = new WeakMap<Connection['timeline'], MultiaddrConnection>()
  #libp2p: Libp2p | undefined

  constructor(options: RelayDoorOptions) {
    this.#options = options
    const { places } = options
    this.#pending = new PendingConnections({
      strangers: places,
      known: 1,
      ofHousehold: Math.ceil(places / 2),
      patienceMs,
    })
  }

  attach(libp2p: Libp2p): void {
    this.#libp2p = libp2p
  }

  get gater(): ConnectionGater {
    const { inner } = this.#options
    return {
      ...inner,
      denyInboundConnection: (socket) => this.#arrive(socket),
      denyInboundRelayReservation: async (peer) => {
        if ((await inner?.denyInboundRelayReservation?.(peer)) === true || (inner === undefined && this.#hasHalf(peer)))
          return true
        this.proved(peer)
        return false
      },
    }
  }

  /** It belongs to a pool that is served, or gets a slot. */
  proved(peer: PeerId): void {
    for (const { timeline } of this.#libp2p?.getConnections(peer) ?? []) {
      const socket = this.#sockets.get(timeline)
      if (socket) this.#pending.leave(socket)
    }
  }

  #arrive(socket: MultiaddrConnection): boolean {
    const loser = this.#pending.enter(
      socket,
      { household: householdOf(ipOf(socket.remoteAddr.toString())), isKnown: false },
      Date.now(),
    )
    if (loser === socket) return true
    loser?.abort(new Error('others came, and it holds no slot'))
    this.#sockets.set(socket.timeline, socket)
    socket.addEventListener('close', () => this.#pending.leave(socket))
    return false
  }

  /** Others at its address hold half of all slots. */
  #hasHalf(peer: PeerId): boolean {
    const households = (one: PeerId): string[] =>
      (this.#libp2p?.getConnections(one) ?? []).map(({ remoteAddr }) => householdOf(ipOf(remoteAddr.toString())))
    const own = households(peer).filter((household) => household !== ownMachine)
    const others = [...this.#options.holders()].filter(
      (one) => !one.equals(peer) && households(one).some((household) => own.includes(household)),
    )
    return others.length >= Math.ceil(this.#options.maxReservations / 2)
  }
}
