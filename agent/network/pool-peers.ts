/**
 * The other devices of our pools, kept connected: whoever tells of one (multicast DNS, the cache, the control plane),
 * it is dialled, both pass the gate, and where it was met is remembered. A device that cannot be reached is tried
 * again after growing pauses; one that refuses, much later.
 */
import type { Connection, PeerId } from '@libp2p/interface'
import { problemOf } from '../../shared/errors.ts'
import { householdOf } from '../../shared/household.ts'
import type { Logger } from '../../shared/log.ts'
import type { FoundBy } from '../../shared/schema/known-peers.ts'
import type { LocalNetwork } from '../device/interfaces.ts'
import type { Sighting } from '../device/known-peers.ts'
import { ConnectionChecks, endLost, probeDoubtfulMs, probeMs, probeOlderMs } from './connection-checks.ts'
import { ipOf, isRelayed, withoutPeerId } from '../../shared/peer-address.ts'
import { dialableAddresses } from './dialable.ts'
import type { Gate } from './gate.ts'
import type { MeshNode } from './node.ts'
import { type Candidate, hoped, missed, PoolCandidates, reached } from './pool-candidates.ts'
import { dialInTurn, enterOrEnd, isRefusal } from './pool-dialer.ts'
import { PoolSightings } from './pool-sightings.ts'
import { mostAnnounced } from './whereabouts.ts'

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

/** How often connections are looked at and pauses may end. */
const lookMs = 5000
/** Milliseconds for which the addresses of members are not looked up again. */
const householdsMs = 1000
/** Milliseconds for which announcements of one device raise no further doubt about its connections. */
const doubtMs = 20_000

export class PoolPeers {
  readonly #options: PoolPeersOptions
  readonly #candidates = new PoolCandidates()
  readonly #checks = new ConnectionChecks()
  readonly #sightings: PoolSightings
  readonly #unknow: () => void
  /** Where members may come from, and until when that is true enough: it is asked for each connection of a flood. */
  #homes: { readonly households: ReadonlySet<string>; readonly until: number } = { households: new Set(), until: 0 }
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  constructor(options: PoolPeersOptions) {
    this.#options = options
    this.#sightings = new PoolSightings({ ...options, candidates: this.#candidates, checks: this.#checks })
    this.#unknow = options.node.doorway.knowFrom({
      isPeer: (peerId) => this.#candidates.isMember(options.poolIds(), peerId),
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
    const candidate = this.#candidates.take(poolId, peer)
    const dialable = dialableAddresses(addresses, node.addresses())
    const usable = found === 'mdns' ? dialable.slice(0, mostAnnounced) : dialable
    if (candidate === undefined) return
    const isNews = usable.some((address) => !candidate.addresses.has(address))
    if (found !== 'mdns') candidate.isMember = true
    for (const address of usable) candidate.addresses.add(address, found)
    if (isNews) hoped(candidate, this.#options.now())
    // it moved: what leads to an address that it no longer has is dead, and nobody would notice for half a minute
    const ips = usable.map(ipOf)
    const isDoubt = isNews && found === 'mdns' && this.#options.now() >= candidate.doubtedUntil
    const old = isDoubt
      ? this.#connections(peer).filter(
          (connection) => !isRelayed(connection.remoteAddr) && !ips.includes(ipOf(connection.remoteAddr.toString())),
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
    const candidate = this.#candidates.take(poolId, connection.remotePeer)
    if (candidate) candidate.isMember = true
    // it dialled again from elsewhere: the older connection may lead to where it was
    const older = isRelayed(connection.remoteAddr)
      ? []
      : this.#connections(connection.remotePeer).filter(
          (other) =>
            !isRelayed(other.remoteAddr) &&
            ipOf(other.remoteAddr.toString()) !== ipOf(connection.remoteAddr.toString()),
        )
    if (older.length > 0) this.#moved(older, probeOlderMs)
    void this.#measure(connection)
  }

  /** Connections to members of that pool. */
  membersOf(poolId: string): Connection[] {
    return this.#options.gate.connectionsOf(poolId)
  }

  /** Ends those of the connections on which nobody answers. */
  async check(connections: readonly Connection[], timeoutMs = probeMs): Promise<void> {
    await this.#checks.endSilent(connections, timeoutMs)
    if (!this.#stopped) await this.look()
  }

  /** This machine is on other networks than before: what led over a lost one ends, and all devices are tried anew. */
  moved(before: readonly LocalNetwork[], now: readonly LocalNetwork[]): void {
    const { doubtful, others } = endLost(this.#options.node.libp2p.getConnections(), before, now)
    void this.check(doubtful, probeDoubtfulMs)
    void this.check(others)
    this.#candidates.startAnew()
    this.#dialDue()
  }

  #moved(older: readonly Connection[], timeoutMs: number): void {
    this.#options.onMoved?.()
    void this.check(older, timeoutMs)
  }

  /** Tells where members are connected, and dials those that are due. */
  async look(): Promise<void> {
    for (const poolId of this.#options.poolIds()) await this.#sightings.tell(poolId)
    this.#dialDue()
  }

  #households(): ReadonlySet<string> {
    const now = this.#options.now()
    if (now < this.#homes.until && now + householdsMs >= this.#homes.until) return this.#homes.households
    const members = this.#candidates.members()
    const told = members.flatMap(({ addresses }) => addresses.told)
    const connected = members
      .flatMap(({ peer }) => this.#connections(peer))
      .filter((connection) => this.#options.gate.isMember(connection))
    const ips = [...told, ...connected.map(({ remoteAddr }) => remoteAddr.toString())]
      .map(ipOf)
      .filter((host) => host !== '')
    this.#homes = { households: new Set(ips.map(householdOf)), until: now + householdsMs }
    return this.#homes.households
  }

  #connections(peer: PeerId): Connection[] {
    return this.#options.node.libp2p.getConnections(peer).filter(({ status }) => status === 'open')
  }

  #dialDue(): void {
    if (this.#stopped) return
    const pools = this.#options.poolIds()
    const isConnected = ({ peer, poolId }: Candidate): boolean =>
      this.#connections(peer).some((connection) => this.#options.gate.isAdmitted(connection, poolId))
    const due = this.#candidates.due(
      this.#options.now(),
      (candidate) => pools.includes(candidate.poolId) && !isConnected(candidate),
    )
    for (const candidate of due) void this.#dial(candidate)
  }

  async #dial(candidate: Candidate): Promise<void> {
    const { node, gate, logger, now } = this.#options
    const { peer, poolId, addresses } = candidate
    candidate.busy = true
    try {
      const connection = await dialInTurn(node, { peer, addresses, isOver: () => this.#stopped })
      const address = withoutPeerId(connection.remoteAddr.toString())
      const found = addresses.foundBy(address)
      this.#sightings.found(connection, found)
      await enterOrEnd(gate, connection, poolId)
      addresses.worked(address)
      reached(candidate)
      logger.info(
        { peer: peer.toString(), address: connection.remoteAddr.toString(), found },
        'connected to a device of the pool',
      )
      void this.look()
    } catch (error) {
      logger.debug({ peer: peer.toString(), problem: problemOf(error) }, 'a device of the pool was not reached')
      missed(candidate, now(), isRefusal(error))
    } finally {
      candidate.busy = false
    }
  }

  async #measure(connection: Connection): Promise<void> {
    await this.#checks.measure(connection)
    if (!this.#stopped) await this.look()
  }
}
