/**
 * The other devices of our pools, kept connected: whoever tells of one (multicast DNS, the cache, the control plane),
 * it is dialled, both pass the gate, and where it was met is remembered. A device that cannot be reached is tried
 * again after growing pauses; one that refuses, much later.
 */
import type { Connection, PeerId } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { Backoff } from '../../shared/backoff.ts'
import { MeshError, problemOf } from '../../shared/errors.ts'
import { householdOf } from '../../shared/household.ts'
import type { Logger } from '../../shared/log.ts'
import type { FoundBy } from '../../shared/schema/known-peers.ts'
import { limits } from '../../shared/limits.ts'
import type { Sighting } from '../device/known-peers.ts'
import { dialableAddresses, hostOf, isRelayed, listenedOn, withoutPeerId } from './dialable.ts'
import type { Gate } from './gate.ts'
import { isInside, type LocalNetwork } from '../device/interfaces.ts'
import { probeConnection } from './live-connection.ts'
import type { MeshNode } from './node.ts'
import { deviceIdOfPeer } from './peer-id.ts'
import { mostAnnounced, Whereabouts } from './whereabouts.ts'

export type { Connection }

export interface PoolPeersOptions {
  readonly node: MeshNode
  readonly gate: Gate
  readonly logger: Logger
  readonly now: () => number
  /** Pools of this device, now. */
  poolIds(): readonly string[]
  /** Where a member is connected; told for each, every few seconds. */
  onSeen(sighting: Sighting): void
  /** A member shows up elsewhere than before: what else runs on its machine has moved too. */
  onMoved?(): void
}

export interface Hint {
  readonly poolId: string
  readonly peer: PeerId
  readonly addresses: readonly string[]
  readonly found: FoundBy
}

/** One device of one pool. */
interface Candidate {
  readonly poolId: string
  readonly peer: PeerId
  readonly addresses: Whereabouts
  /** It passed the gate, or who knows the members told of it: multicast DNS is open to everybody. */
  isMember: boolean
  readonly backoff: Backoff
  notBefore: number
  busy: boolean
  /** Somebody said in its name that it moved: until then nobody need look again. */
  doubtedUntil: number
}

/** Answers of a gate that another try soon will not change. */
const refusals = /^(gateRefused|notMember|poolUnknown|protocolVersion|certificate\w+)$/
/** Of one address: a round trip or two. Addresses of other networks often lead nowhere without saying so. */
const dialMs = 2500
/** How often connections are looked at and pauses may end. */
const lookMs = 5000
const pauses = { firstMs: 1000, longestMs: 60_000 }
/** A device that refused us may have been let in since. */
const refusedPauseMs = 5 * 60_000
/** Dials at once: a few, so that a long list of absent devices does not keep the others waiting. */
const dialsAtOnce = 8
/** Milliseconds for which the addresses of members are not looked up again. */
const householdsMs = 1000
/** Most devices of all pools that are kept in mind. Of those that only multicast DNS told of, the one told first makes room. */
const maxCandidates = 4 * limits.worldSize
/** Dials at once to devices that only multicast DNS told of. */
const announcedDialsAtOnce = 4
/** Milliseconds for which announcements of one device raise no further doubt about its connections. */
const doubtMs = 20_000
/** Milliseconds that a peer has to answer on a connection that may be dead: tensors may be in front of the question. */
const probeMs = 15_000
/** The same where an end of the connection says that it has another address now. */
const probeDoubtfulMs = 3000
/** The same where a newer connection to the peer is there. */
const probeOlderMs = 10_000

export class PoolPeers {
  readonly #options: PoolPeersOptions
  readonly #candidates = new Map<string, Candidate>()
  /** How the address of a connection was found. */
  readonly #found = new WeakMap<Connection, FoundBy>()
  readonly #latency = new WeakMap<Connection, number>()
  readonly #unknow: () => void
  /** Where members may come from, and until when that is true enough: it is asked for each connection of a flood. */
  #homes: { readonly households: ReadonlySet<string>; readonly until: number } = { households: new Set(), until: 0 }
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  constructor(options: PoolPeersOptions) {
    this.#options = options
    this.#unknow = options.node.doorway.knowFrom({
      isPeer: (peerId) => this.#isMember(peerId),
      isHousehold: (household) => this.#households().has(household),
    })
  }

  start(): void {
    this.#timer = setInterval(() => void this.look(), lookMs)
  }

  stop(): void {
    this.#stopped = true
    this.#unknow()
    clearInterval(this.#timer)
  }

  /** Somebody told where a device of a pool may be. */
  hint({ poolId, peer, addresses, found }: Hint): void {
    const { node } = this.#options
    if (this.#stopped || peer.equals(node.libp2p.peerId)) return
    const candidate = this.#candidate(poolId, peer)
    const dialable = dialableAddresses(addresses, node.addresses())
    const usable = found === 'mdns' ? dialable.slice(0, mostAnnounced) : dialable
    if (candidate === undefined) return
    const isNews = usable.some((address) => !candidate.addresses.has(address))
    if (found !== 'mdns') candidate.isMember = true
    for (const address of usable) candidate.addresses.add(address, found)
    if (isNews) candidate.notBefore = Math.min(candidate.notBefore, this.#options.now() + candidate.backoff.nextMs)
    // it moved: what leads to an address that it no longer has is dead, and nobody would notice for half a minute
    const hosts = usable.map(hostOf)
    const isDoubt = isNews && found === 'mdns' && this.#options.now() >= candidate.doubtedUntil
    const old = isDoubt
      ? this.#connections(peer).filter(
          (connection) =>
            !isRelayed(connection.remoteAddr) && !hosts.includes(hostOf(connection.remoteAddr.toString())),
        )
      : []
    if (old.length > 0) {
      candidate.doubtedUntil = this.#options.now() + doubtMs
      this.#moved(old, probeDoubtfulMs)
    }
    this.#dialDue()
  }

  /** A connection passed the gate of a pool. */
  admitted(connection: Connection, poolId: string): void {
    const candidate = this.#candidate(poolId, connection.remotePeer)
    if (candidate) candidate.isMember = true
    // it dialled again from elsewhere: the older connection may lead to where it was
    const older = isRelayed(connection.remoteAddr)
      ? []
      : this.#connections(connection.remotePeer).filter(
          (other) =>
            !isRelayed(other.remoteAddr) &&
            hostOf(other.remoteAddr.toString()) !== hostOf(connection.remoteAddr.toString()),
        )
    if (older.length > 0) this.#moved(older, probeOlderMs)
    void this.#measure(connection)
  }

  /** Connections to members of that pool. */
  membersOf(poolId: string): Connection[] {
    return this.#options.node.libp2p
      .getConnections()
      .filter((connection) => connection.status === 'open' && this.#options.gate.isAdmitted(connection, poolId))
  }

  /** Ends those of the connections on which nobody answers. */
  async check(connections: readonly Connection[], timeoutMs = probeMs): Promise<void> {
    await Promise.all(
      connections.map(async (connection) => {
        const ms = await probeConnection(connection, timeoutMs)
        if (ms !== undefined) this.#latency.set(connection, ms)
        else if (connection.status === 'open')
          connection.abort(
            new MeshError('peerUnreachable', {
              peer: connection.remotePeer.toString(),
              problem: 'no answer on this connection',
            }),
          )
      }),
    )
    if (!this.#stopped) await this.look()
  }

  /** This machine is on other networks than before: what led over a lost one ends, and all devices are tried anew. */
  moved(before: readonly LocalNetwork[], now: readonly LocalNetwork[]): void {
    const lost = before.filter(({ address }) => !now.some((network) => network.address === address))
    const open = lost.length > 0 ? this.#options.node.libp2p.getConnections() : []
    const left = open.filter((connection) => isInside(hostOf(connection.remoteAddr.toString()), lost))
    const dead = left.filter((connection) => !isInside(hostOf(connection.remoteAddr.toString()), now))
    for (const connection of dead)
      connection.abort(
        new MeshError('peerUnreachable', {
          peer: connection.remotePeer.toString(),
          problem: 'this machine left that network',
        }),
      )
    void this.check(
      left.filter((connection) => !dead.includes(connection)),
      probeDoubtfulMs,
    )
    void this.check(open.filter((connection) => !left.includes(connection)))
    for (const candidate of this.#candidates.values()) {
      candidate.backoff.reset()
      candidate.notBefore = 0
    }
    this.#dialDue()
  }

  #moved(older: readonly Connection[], timeoutMs: number): void {
    this.#options.onMoved?.()
    void this.check(older, timeoutMs)
  }

  /** Tells where members are connected, and dials those that are due. */
  async look(): Promise<void> {
    for (const poolId of this.#options.poolIds()) {
      const best = new Map<string, Connection>()
      for (const connection of this.membersOf(poolId)) {
        const other = best.get(connection.remotePeer.toString())
        if (other === undefined || isBetter(connection, other)) best.set(connection.remotePeer.toString(), connection)
      }
      for (const connection of best.values()) await this.#tell(poolId, connection)
    }
    this.#dialDue()
  }

  async #tell(poolId: string, connection: Connection): Promise<void> {
    const deviceId = deviceIdOfPeer(connection.remotePeer)
    if (deviceId === undefined) return
    const candidate = this.#candidates.get(keyOf(poolId, connection.remotePeer))
    const dialable = await this.#dialableOf(connection)
    const address = dialable ?? withoutPeerId(connection.remoteAddr.toString())
    const found = isRelayed(connection.remoteAddr)
      ? 'relay'
      : (this.#found.get(connection) ??
        candidate?.addresses.foundBy(address) ??
        (connection.direction === 'inbound' ? 'inbound' : 'control-plane'))
    // once told, it stays: the same connection shall not seem to be found otherwise later, unless we only know that it was
    if (found !== 'inbound') this.#found.set(connection, found)
    this.#options.onSeen({
      poolId,
      deviceId,
      address,
      found,
      latencyMs: connection.rtt ?? this.#latency.get(connection),
      dialable: isRelayed(connection.remoteAddr) ? undefined : dialable,
      at: this.#options.now(),
    })
  }

  /** Where the other end of a connection listens. */
  async #dialableOf(connection: Connection): Promise<string | undefined> {
    const remote = withoutPeerId(connection.remoteAddr.toString())
    if (connection.direction === 'outbound' || isRelayed(connection.remoteAddr)) return remote
    try {
      const { addresses } = await this.#options.node.libp2p.peerStore.get(connection.remotePeer)
      return listenedOn(
        remote,
        addresses.map((address) => address.multiaddr.toString()),
      )
    } catch {
      return undefined // it has not said who it is yet
    }
  }

  #candidate(poolId: string, peer: PeerId): Candidate | undefined {
    const key = keyOf(poolId, peer)
    const known = this.#candidates.get(key)
    if (known !== undefined) return known
    if (this.#candidates.size >= maxCandidates) {
      const first = [...this.#candidates].find(([, { isMember, busy }]) => !isMember && !busy)
      if (first === undefined) return undefined
      this.#candidates.delete(first[0])
    }
    const candidate: Candidate = {
      poolId,
      peer,
      addresses: new Whereabouts(),
      isMember: false,
      backoff: new Backoff(pauses),
      notBefore: 0,
      busy: false,
      doubtedUntil: 0,
    }
    this.#candidates.set(key, candidate)
    return candidate
  }

  #isMember(peerId: string): boolean {
    return this.#options.poolIds().some((poolId) => this.#candidates.get(`${poolId}/${peerId}`)?.isMember === true)
  }

  #households(): ReadonlySet<string> {
    const now = this.#options.now()
    if (now < this.#homes.until && now + householdsMs >= this.#homes.until) return this.#homes.households
    const members = [...this.#candidates.values()].filter(({ isMember }) => isMember)
    const told = members.flatMap(({ addresses }) => addresses.told)
    const connected = members
      .flatMap(({ peer }) => this.#connections(peer))
      .filter((connection) => this.#options.gate.isMember(connection))
    const hosts = [...told, ...connected.map(({ remoteAddr }) => remoteAddr.toString())]
      .map(hostOf)
      .filter((host) => host !== '')
    this.#homes = { households: new Set(hosts.map(householdOf)), until: now + householdsMs }
    return this.#homes.households
  }

  #connections(peer: PeerId): Connection[] {
    return this.#options.node.libp2p.getConnections(peer).filter(({ status }) => status === 'open')
  }

  #dialDue(): void {
    if (this.#stopped) return
    const pools = this.#options.poolIds()
    const now = this.#options.now()
    const all = [...this.#candidates.values()].toSorted((a, b) => Number(b.isMember) - Number(a.isMember))
    let free = dialsAtOnce - all.filter(({ busy }) => busy).length
    let freeForAnnounced = announcedDialsAtOnce - all.filter(({ busy, isMember }) => busy && !isMember).length
    for (const candidate of all) {
      if (free <= 0) return
      if (!candidate.isMember && freeForAnnounced <= 0) return
      if (
        candidate.busy ||
        candidate.notBefore > now ||
        candidate.addresses.isEmpty ||
        !pools.includes(candidate.poolId)
      )
        continue
      if (
        this.#connections(candidate.peer).some((connection) =>
          this.#options.gate.isAdmitted(connection, candidate.poolId),
        )
      )
        continue
      free--
      if (!candidate.isMember) freeForAnnounced--
      void this.#dial(candidate)
    }
  }

  async #dial(candidate: Candidate): Promise<void> {
    const { logger, now } = this.#options
    candidate.busy = true
    try {
      const connection = await this.#connect(candidate)
      const address = withoutPeerId(connection.remoteAddr.toString())
      const found = candidate.addresses.foundBy(address)
      if (found !== undefined) this.#found.set(connection, found)
      await this.#enter(connection, candidate.poolId)
      candidate.addresses.worked(address)
      candidate.backoff.reset()
      candidate.notBefore = 0
      logger.info(
        { peer: candidate.peer.toString(), address: connection.remoteAddr.toString(), found },
        'connected to a device of the pool',
      )
      void this.look()
    } catch (error) {
      const refused = error instanceof MeshError && refusals.test(error.code)
      logger.debug(
        { peer: candidate.peer.toString(), problem: problemOf(error) },
        'a device of the pool was not reached',
      )
      const pauseMs = candidate.backoff.fail()
      candidate.notBefore = now() + (refused ? refusedPauseMs : pauseMs)
    } finally {
      candidate.busy = false
    }
  }

  /** One address after the other, the newest first: libp2p would take them in any order and wait long for each. */
  async #connect({ peer, addresses }: Candidate): Promise<Connection> {
    const tried = new Set<string>()
    let last: unknown = new MeshError('peerUnreachable', { peer: peer.toString(), problem: 'it names no address' })
    for (;;) {
      const next = addresses.inTurn().find((address) => !tried.has(address))
      if (next === undefined || this.#stopped) throw last
      tried.add(next)
      try {
        return await this.#options.node.libp2p.dial(multiaddr(`${next}/p2p/${peer.toString()}`), {
          signal: AbortSignal.timeout(dialMs),
        })
      } catch (error) {
        last = error
      }
    }
  }

  /** Passes the gate, or ends the connection: who shows no good certificate is not kept. */
  async #enter(connection: Connection, poolId: string): Promise<void> {
    const { gate } = this.#options
    try {
      await gate.enter(connection, poolId, AbortSignal.timeout(limits.gateMs))
    } catch (error) {
      if (!gate.isMember(connection)) connection.abort(error instanceof Error ? error : new Error(String(error)))
      throw error
    }
  }

  async #measure(connection: Connection): Promise<void> {
    const ms = await probeConnection(connection, probeMs)
    if (ms !== undefined) this.#latency.set(connection, ms)
    if (!this.#stopped) await this.look()
  }
}

const keyOf = (poolId: string, peer: PeerId): string => `${poolId}/${peer.toString()}`

/** Direct before relayed, then the quicker one. */
const isBetter = (a: Connection, b: Connection): boolean =>
  isRelayed(a.remoteAddr) === isRelayed(b.remoteAddr)
    ? (a.rtt ?? Infinity) < (b.rtt ?? Infinity)
    : !isRelayed(a.remoteAddr)
