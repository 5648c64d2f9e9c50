/**
 * Who may come in. A stranger can open connections without end, in any stage of a handshake, and with keys that it
 * makes as it goes: until a connection has passed the gate it has one of few places (`shared/pending-connections.ts`),
 * a short time and a few streams. Members are not counted among them as soon as TLS has shown their keys.
 *
 * libp2p itself counts all unfinished connections together and refuses whoever comes when they are too many; beyond its
 * most connections it refuses members, and ends some of theirs. So its limits are off, and this is asked instead.
 */
import {
  type Connection,
  type ConnectionEncrypter,
  type ConnectionGater,
  type Libp2p,
  type MultiaddrConnection,
  type PeerId,
  serviceCapabilities,
  type ServiceMap,
} from '@libp2p/interface'
import { MeshError } from '../../shared/errors.ts'
import { householdOf } from '../../shared/household.ts'
import { NewcomerPace, type Pace, PendingConnections, type PendingLimits } from '../../shared/pending-connections.ts'
import { limits } from '../../shared/limits.ts'
import { ipOf } from '../../shared/peer-address.ts'

/** Where members are: told by the cache, by the control plane, and by the epochs of rings. */
export interface KnownMembers {
  isPeer(peerId: string): boolean
  /** @param household as `householdOf` names it */
  isHousehold(household: string): boolean
}

const doorLimits: PendingLimits = {
  strangers: 128,
  known: 256,
  ofHousehold: limits.worldSize,
  patienceMs: 1000,
}

/** Connections that are looked at: each costs 0.3 ms, those that go at once too. */
const arrivals: Pace = { known: 1024, stranger: 256, strangers: 512 }
/** Handshakes that are begun: each costs some milliseconds. A whole ring behind one address may come at once. */
const handshakes: Pace = { known: 2 * limits.worldSize, stranger: limits.worldSize, strangers: 2 * limits.worldSize }

/** Connections of one member: one each way, relayed ones, and what is dead and not known to be. */
const ofPeer = 16
/** Streams that a peer opens at most before it has passed the gate: gates of a few pools, and libp2p's own protocols. */
const ungatedStreams = 16

/** The relay that a circuit comes over, and the peer at its other end, as the relay names it. */
const circuitOf = (address: string): { readonly relay: string; readonly peer: string } | undefined => {
  const found = /\/p2p\/([^/]+)\/p2p-circuit\/p2p\/([^/]+)/.exec(address)
  return found ? { relay: found[1], peer: found[2] } : undefined
}

/** What libp2p offers beyond its public type: the streams of a connection as they come. */
interface Multiplexed {
  readonly muxer?: { addEventListener(type: 'stream', listener: () => void): void }
}

/** Who a peer is, and where it listens, is asked by us: of strangers nothing is asked, and nothing kept. */
type OwnServices = { readonly identify: { identify(connection: Connection): Promise<unknown> } } & ServiceMap

/** A connection and the socket below it have the same record of times; nothing else that is public tells which belong together. */
type Timeline = Connection['timeline']

export class Doorway {
  readonly #pending = new PendingConnections<MultiaddrConnection>(doorLimits)
  readonly #arrivals = new NewcomerPace(arrivals)
  readonly #handshakes = new NewcomerPace(handshakes)
  readonly #sockets = new WeakMap<Timeline, MultiaddrConnection>()
  readonly #connections = new WeakMap<MultiaddrConnection, Connection>()
  readonly #inside = new WeakSet<Connection>()
  readonly #known = new Set<KnownMembers>()
  #libp2p: Libp2p<OwnServices> | undefined

  /** For `createLibp2p`. */
  readonly gater: ConnectionGater = {
    denyInboundConnection: (socket) => this.#arrive(socket),
    denyInboundEncryptedConnection: (peer, socket) => this.#show(peer, socket),
  }

  /** Connections that have yet to pass the gate. */
  get pendingCount(): number {
    return this.#pending.size
  }

  /** The same encryption, begun for newcomers at a pace that leaves time for the others. */
  paced<Components>(
    encrypter: (components: Components) => ConnectionEncrypter,
  ): (components: Components) => ConnectionEncrypter {
    return (components) => {
      const inner = encrypter(components)
      return {
        protocol: inner.protocol,
        [Symbol.toStringTag]: 'mesh/paced-encryption',
        [serviceCapabilities]: ['@libp2p/connection-encryption'],
        secureOutbound: (stream, options) => inner.secureOutbound(stream, options),
        secureInbound: async (stream, options) => {
          const newcomer = this.#pending.newcomer(stream as MultiaddrConnection)
          if (newcomer && !this.#handshakes.allows(newcomer, Date.now()))
            throw new MeshError('gateRefused', { peer: newcomer.household, problem: 'too many handshakes' })
          return inner.secureInbound(stream, options)
        },
      }
    }
  }

  attach(libp2p: Libp2p<OwnServices>): void {
    this.#libp2p = libp2p
    libp2p.addEventListener('connection:open', ({ detail }) => this.#open(detail))
    libp2p.addEventListener('connection:close', ({ detail }) => this.#forget(detail))
  }

  /** Somebody else who knows members. @returns what ends that */
  knowFrom(members: KnownMembers): () => void {
    this.#known.add(members)
    return () => void this.#known.delete(members)
  }

  /** Our relay: it has nothing to prove. */
  spare(connection: Connection): void {
    const socket = this.#sockets.get(connection.timeline)
    if (socket !== undefined) this.#pending.leave(socket)
    this.#inside.add(connection)
  }

  /** It passed the gate. @throws MeshError `gateRefused` when the peer has too many already */
  admit(connection: Connection): void {
    if (this.#inside.has(connection)) return
    const peer = connection.remotePeer
    const others = this.#libp2p?.getConnections(peer).filter((other) => this.#inside.has(other)) ?? []
    if (others.length >= ofPeer)
      throw new MeshError('gateRefused', { peer: peer.toString(), problem: `it has ${ofPeer} connections already` })
    this.spare(connection)
    if (connection.direction === 'inbound') this.#identify(connection)
  }

  #identify(connection: Connection): void {
    this.#libp2p?.services.identify.identify(connection).catch(() => {}) // it went, or serves us nothing: then nothing is known of it
  }

  #isKnownPeer(peerId: string): boolean {
    return [...this.#known].some((members) => members.isPeer(peerId))
  }

  /** @returns true when there is no place for it */
  #arrive(socket: MultiaddrConnection): boolean {
    const address = socket.remoteAddr.toString()
    const circuit = circuitOf(address)
    const household = circuit ? `relay ${circuit.relay}` : householdOf(ipOf(address))
    const isKnown = circuit
      ? this.#isKnownPeer(circuit.peer)
      : [...this.#known].some((members) => members.isHousehold(household))
    const [newcomer, now] = [{ household, isKnown }, Date.now()]
    const loser = this.#arrivals.allows(newcomer, now) ? this.#pending.enter(socket, newcomer, now) : socket
    if (loser === socket) return true
    if (loser !== undefined) this.#end(loser)
    this.#sockets.set(socket.timeline, socket)
    socket.addEventListener('close', () => this.#pending.leave(socket))
    if (socket.status !== 'open') this.#pending.leave(socket)
    return false
  }

  /** The key of the other side is proved. @returns true when nobody with it comes in */
  #show(peer: PeerId, socket: MultiaddrConnection): boolean {
    if (peer.type !== 'Ed25519') return true // no key of a device
    const peerId = peer.toString()
    if (!this.#isKnownPeer(peerId)) return false
    if ((this.#libp2p?.getConnections(peer).length ?? 0) >= ofPeer) return true
    this.#pending.leave(socket)
    return false
  }

  #end(socket: MultiaddrConnection): void {
    const reason = new MeshError('gateRefused', {
      peer: socket.remoteAddr.toString(),
      problem: 'others came, and it had not passed in time',
    })
    const connection = this.#connections.get(socket)
    if (connection) connection.abort(reason)
    else socket.abort(reason)
  }

  #open(connection: Connection): void {
    if (connection.direction === 'outbound') return this.#identify(connection)
    const socket = this.#sockets.get(connection.timeline)
    if (socket === undefined) return
    this.#connections.set(socket, connection)
    const { muxer } = connection as unknown as Multiplexed
    muxer?.addEventListener('stream', () => {
      if (this.#inside.has(connection) || connection.streams.length <= ungatedStreams) return
      connection.abort(
        new MeshError('gateRefused', {
          peer: connection.remotePeer.toString(),
          problem: 'too many streams before the gate',
        }),
      )
    })
  }

  /** What libp2p keeps of a peer that never came in: keys are cheap to make. */
  #forget(connection: Connection): void {
    const peer = connection.remotePeer
    if (connection.direction === 'outbound' || this.#inside.has(connection) || this.#isKnownPeer(peer.toString()))
      return
    if (this.#libp2p?.getConnections(peer).some((other) => other.id !== connection.id) === true) return
    void Promise.resolve(this.#libp2p?.peerStore.delete(peer)).catch(() => {})
  }
}
