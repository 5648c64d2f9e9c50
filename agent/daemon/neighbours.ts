/** The agent and the other devices of its pools: finding them, remembering them, and noticing that the network changed. */
import type { Client } from '../../shared/api/client.ts'
import { isLoopbackUrl } from '../../shared/control-plane-url.ts'
import { isLoopback } from '../../shared/loopback.ts'
import { MeshError, problemOf } from '../../shared/errors.ts'
import { parseDeviceId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import type { PeerCache, Sighting } from '../device/known-peers.ts'
import type { LocalPool } from '../device/pools.ts'
import { reachOf } from '../network/announced-address.ts'
import { ControlPlaneExchange, type ControlPlaneExchangeOptions } from '../network/control-plane-exchange.ts'
import { ipOf, isRelayed } from '../../shared/peer-address.ts'
import type { Gate } from '../network/gate.ts'
import { isInside, type LocalNetwork, localNetworks, rankedLanAddresses } from '../device/interfaces.ts'
import { MdnsDiscovery } from '../network/mdns-discovery.ts'
import type { MeshNode } from '../network/node.ts'
import { peerIdOf } from '../network/peer-id.ts'
import { type Connection, PoolPeers } from '../network/pool-peers.ts'
import type { Announcement } from './announced-planes.ts'
import { urlFor } from './control-plane-url.ts'
import type { PoolWatch } from './pool-watch.ts'

export interface NeighboursOptions {
  readonly watch: PoolWatch
  readonly node: MeshNode
  readonly gate: Gate
  readonly cache: PeerCache
  readonly logger: Logger
  readonly now: () => number
  readonly discovery: 'lan' | 'none'
  /** The control plane that this agent is connected to, if any. */
  controlPlane(): Client | undefined
  /** Which control plane serves a pool, as this device knows it, and what members say of that. */
  readonly pins: Pick<ControlPlaneExchangeOptions, 'pinOf' | 'onPin'>
  /** The network changed, before anything else is done about it. */
  onMoved(): void
  /** A member may know a control plane, or the network changed: look whether ours is still there. */
  onNews(): void
}

/** How often network interfaces are looked at: they are cheap to read. */
const networksMs = 2000
/** How often the control plane is asked for members, and what is only a newer time is written. */
const listMs = 60_000
const saveMs = 30_000
const settleMs = 500
/** Members that are asked at a time where the control plane is. */
const mostAsked = 32

export class Neighbours {
  readonly name = 'neighbours'
  readonly #options: NeighboursOptions
  readonly #peers: PoolPeers
  readonly #exchange: ControlPlaneExchange
  readonly #searches = new Map<string, MdnsDiscovery>()
  readonly #timers: NodeJS.Timeout[] = []
  #poolIds: readonly string[] = []
  #networks: readonly LocalNetwork[] = localNetworks()
  #saving: NodeJS.Timeout | undefined

  constructor(options: NeighboursOptions) {
    const { node, gate, logger, now } = options
    this.#options = options
    this.#peers = new PoolPeers({
      node,
      gate,
      logger,
      now,
      poolIds: () => this.#poolIds,
      onSeen: (sighting) => this.#saw(sighting),
      onMoved: () => options.onNews(),
    })
    this.#exchange = new ControlPlaneExchange({
      node,
      gate,
      logger,
      answer: () => this.#ownControlPlane(),
      ...options.pins,
    })
  }

  start(): void {
    this.#options.watch.follow((pools) => this.#see(pools))
    this.#peers.start()
    const every = (ms: number, action: () => void): void => void this.#timers.push(setInterval(action, ms))
    every(networksMs, () => this.#lookAtNetworks())
    every(listMs, () => void this.askControlPlane())
    every(saveMs, () => this.#save())
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer)
    clearTimeout(this.#saving)
    this.#peers.stop()
    this.#save()
    await Promise.all([...this.#searches.values()].map((search) => search.stop()))
  }

  /** A connection passed the gate. */
  admitted(connection: Connection, poolId: string): void {
    this.#peers.admitted(connection, poolId)
    // one question shows each side the pin of the other
    if (connection.direction === 'outbound') void this.#exchange.ask(connection, poolId)
    if (this.#options.controlPlane() === undefined) this.#options.onNews()
  }

  /** Shows the pin of that pool to the members that are connected. */
  tellPin(poolId: string): void {
    for (const connection of this.#options.gate.connectionsOf(poolId)) void this.#exchange.ask(connection, poolId)
  }

  /** Where the connected members reach their control planes. */
  async askMembers(): Promise<readonly Announcement[]> {
    const asked = new Map(
      this.#poolIds.flatMap((poolId) =>
        this.#peers
          .membersOf(poolId)
          .map((connection) => [connection.remotePeer.toString(), { connection, poolId }] as const),
      ),
    )
    return Promise.all(
      [...asked.values()].slice(0, mostAsked).map(async ({ connection, poolId }) => ({
        from: connection.remotePeer.toString(),
        isNear: isNear(connection),
        urls: await this.#exchange.ask(connection, poolId),
      })),
    )
  }

  /** Takes the members that the control plane knows. */
  async askControlPlane(): Promise<void> {
    const client = this.#options.controlPlane()
    if (client === undefined) return
    for (const poolId of this.#poolIds) {
      try {
        for (const { deviceId, name, addresses, online } of await client.call('listPeers', { params: { poolId } })) {
          this.#options.cache.name(poolId, deviceId, name)
          if (online)
            this.#peers.hint({ poolId, peer: peerIdOf(parseDeviceId(deviceId)), addresses, found: 'control-plane' })
        }
      } catch (error) {
        this.#options.logger.debug({ poolId, problem: problemOf(error) }, 'the control plane did not list the members')
      }
    }
  }

  /** Pools come and go by other commands. */
  #see(pools: readonly LocalPool[]): void {
    const poolIds: readonly string[] = pools.map(({ poolId }) => poolId)
    for (const poolId of poolIds) if (!this.#poolIds.includes(poolId)) this.#enter(poolId)
    for (const [poolId, search] of this.#searches) {
      if (poolIds.includes(poolId)) continue
      this.#searches.delete(poolId)
      void search.stop()
    }
    this.#poolIds = poolIds
  }

  #lookAtNetworks(): void {
    const networks = localNetworks()
    if (textOf(networks) === textOf(this.#networks)) return
    const before = this.#networks
    this.#networks = networks
    void this.#moved(before)
  }

  #enter(poolId: string): void {
    const { cache, discovery, node, logger } = this.#options
    this.#poolIds = [...this.#poolIds, poolId]
    for (const { deviceId, worked } of cache.peersOf(poolId))
      this.#peers.hint({
        poolId,
        peer: peerIdOf(parseDeviceId(deviceId)),
        addresses: worked.map(({ address }) => address).toReversed(),
        found: 'cache',
      })
    if (discovery === 'lan') {
      const search = new MdnsDiscovery({
        libp2p: node.libp2p,
        poolId,
        logger,
        onFound: (peer, addresses) =>
          this.#peers.hint({
            poolId,
            peer,
            addresses: addresses.filter((address) => this.#isNear(address)),
            found: 'mdns',
          }),
      })
      this.#searches.set(poolId, search)
      void search.start()
    }
    void this.askControlPlane()
  }

  /** Whoever speaks on the local network shall not make us dial anywhere else. */
  #isNear(address: string): boolean {
    const host = ipOf(address)
    return isLoopback(host) || isInside(host, this.#networks) || this.#networks.some(({ cidr }) => cidr === null)
  }

  /** Other addresses than before: say so, ask on the new network, and end what led over the old one. */
  async #moved(before: readonly LocalNetwork[]): Promise<void> {
    const { node, logger, onNews, onMoved } = this.#options
    const now = this.#networks
    onMoved()
    logger.info(
      { before: before.map(({ address }) => address), now: now.map(({ address }) => address) },
      'the network of this machine changed',
    )
    await node.announce()
    this.#peers.moved(before, now)
    await Promise.all([...this.#searches.values()].map((search) => search.restart()))
    onNews()
  }

  /** The control plane in use, as the others on this network reach it. */
  async #ownControlPlane(): Promise<readonly string[]> {
    const url = this.#options.controlPlane()?.url
    if (url === undefined) return []
    return isLoopbackUrl(url) ? (await rankedLanAddresses()).slice(0, 8).map((host) => urlFor(url, host)) : [url]
  }

  #saw(sighting: Sighting): void {
    if (this.#options.cache.saw(sighting)) this.#saving ??= setTimeout(() => this.#save(), settleMs)
  }

  #save(): void {
    this.#saving = undefined
    try {
      this.#options.cache.keepPools(this.#poolIds)
      this.#options.cache.save()
    } catch (error) {
      this.#options.logger.warn(MeshError.from(error).message) // a full disk must not end the agent
    }
  }
}

/** The member is on a private network that this device is on too; over a relay nobody knows where it is. */
const isNear = ({ remoteAddr }: Connection): boolean => {
  const address = remoteAddr.toString()
  return !isRelayed(address) && reachOf(ipOf(address)) === 'private'
}

const textOf = (networks: readonly LocalNetwork[]): string =>
  networks
    .map(({ address, cidr }) => `${address} ${cidr}`)
    .toSorted()
    .join()
