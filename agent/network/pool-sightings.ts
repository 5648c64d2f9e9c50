/** Where the members of our pools are connected, as it is remembered: the best connection to each, and how it was found. */
import type { Connection } from '@libp2p/interface'
import type { FoundBy } from '../../shared/schema/known-peers.ts'
import type { Sighting } from '../device/known-peers.ts'
import type { ConnectionChecks } from './connection-checks.ts'
import { isRelayed, withoutPeerId } from '../../shared/peer-address.ts'
import { listenedOn } from './dialable.ts'
import type { Gate } from './gate.ts'
import type { MeshNode } from './node.ts'
import { deviceIdOfPeer } from './peer-id.ts'
import type { PoolCandidates } from './pool-candidates.ts'

export interface PoolSightingsOptions {
  readonly node: MeshNode
  readonly gate: Gate
  readonly candidates: PoolCandidates
  readonly checks: ConnectionChecks
  readonly now: () => number
  onSeen(sighting: Sighting): void
}

/** Direct before relayed, then the quicker one. */
const isBetter = (a: Connection, b: Connection): boolean =>
  isRelayed(a.remoteAddr) === isRelayed(b.remoteAddr)
    ? (a.rtt ?? Infinity) < (b.rtt ?? Infinity)
    : !isRelayed(a.remoteAddr)

export class PoolSightings {
  readonly #options: PoolSightingsOptions
  readonly #found = new WeakMap<Connection, FoundBy>()

  constructor(options: PoolSightingsOptions) {
    this.#options = options
  }

  /** Somebody knows how the address of a connection was found. */
  found(connection: Connection, found: FoundBy | undefined): void {
    if (found !== undefined) this.#found.set(connection, found)
  }

  /** Tells where the members of that pool are connected. */
  async tell(poolId: string): Promise<void> {
    const best = new Map<string, Connection>()
    for (const connection of this.#options.gate.connectionsOf(poolId)) {
      const other = best.get(connection.remotePeer.toString())
      if (other === undefined || isBetter(connection, other)) best.set(connection.remotePeer.toString(), connection)
    }
    for (const connection of best.values()) await this.#tellOne(poolId, connection)
  }

  async #tellOne(poolId: string, connection: Connection): Promise<void> {
    const deviceId = deviceIdOfPeer(connection.remotePeer)
    if (deviceId === undefined) return
    const candidate = this.#options.candidates.find(poolId, connection.remotePeer)
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
      latencyMs: this.#options.checks.latencyOf(connection),
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
}
