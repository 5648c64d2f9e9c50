/**
 * Who this device is to others, and how they reach each other: gate, membership, revocations, the pins of control
 * planes and the neighbours of its pools. One of the three assemblies of an agent (`daemon.ts`).
 */
import type { Client } from '../../shared/api/client.ts'
import type { AgentMessage } from '../../shared/api/messages.ts'
import type { Home } from '../../shared/home.ts'
import type { ControlPlaneId } from '../../shared/ids.ts'
import type { Lifecycle } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { PeerCache } from '../device/known-peers.ts'
import type { LocalDevice } from '../device/device.ts'
import { Pins } from '../device/pins.ts'
import type { Revocations } from '../device/revocations.ts'
import { type Connection, Gate } from '../network/gate.ts'
import type { MeshNode } from '../network/node.ts'
import { RenewalExchange } from '../network/renewal-exchange.ts'
import { RevocationSpread } from '../network/revocation-spread.ts'
import type { Announcement } from './announced-planes.ts'
import { Membership, poolDirectory } from './membership.ts'
import { Neighbours } from './neighbours.ts'
import { OtherVersions } from './other-versions.ts'
import { type PoolAdminOptions, signRenewal } from './pool-admin.ts'
import { PoolPins } from './pool-pins.ts'
import { PoolWatch } from './pool-watch.ts'

/** The control plane that the agent talks to now: it may turn to another one, so all of this is asked for each time. */
export interface PlaneAccess {
  readonly client: Client
  /** The same, while the agent is connected to it. */
  readonly connected: Client | undefined
  /** By which it is known; `undefined` before it was met. */
  readonly key: ControlPlaneId | undefined
  send(message: AgentMessage): void
  /** Says hello again: addresses or certificates changed. */
  refresh(): void
  /** Looks now whether it is still there. */
  check(): void
  /** The admins of a pool may have named another one. */
  recheck(): void
  /** The network changed: what could not be reached may be there now. */
  moved(): void
}

export interface PoolNetworkOptions {
  readonly home: Home
  readonly device: LocalDevice
  readonly node: MeshNode
  readonly cache: PeerCache
  readonly revocations: Revocations
  /** How devices of a pool are found besides the control plane. */
  readonly discovery: 'lan' | 'none'
  readonly now: () => number
  readonly logger: Logger
  plane(): PlaneAccess
  /** Something that `mesh status` shows is another than before. */
  onChange(): void
}

export class PoolNetwork {
  readonly gate: Gate
  readonly membership: Membership
  /** What this device knows of the control planes of its pools. */
  readonly knownPins: Pins
  readonly pins: PoolPins
  readonly neighbours: Neighbours
  readonly otherVersions: OtherVersions
  readonly #options: PoolNetworkOptions
  readonly #spread: RevocationSpread
  readonly #answering: PoolAdminOptions['answering'] = new Map()

  constructor(options: PoolNetworkOptions, parts: Lifecycle) {
    const { home, node, revocations, now, logger } = options
    this.#options = options
    this.otherVersions = new OtherVersions(now)
    this.knownPins = new Pins(home, revocations, now)
    this.gate = this.#createGate()
    parts.add({ name: 'gate', stop: () => this.gate.stop() })
    const { gate } = this
    this.#spread = new RevocationSpread({
      node,
      gate,
      logger,
      textOf: (poolId) => revocations.listOf(poolId)?.text,
      onList: (poolId, text) => this.membership.receiveList(poolId, text),
    })
    const renewals = new RenewalExchange({
      node,
      gate,
      logger,
      now,
      renew: (request, asker) => signRenewal(this.admin, request, asker),
    })
    const watch = parts.add(new PoolWatch({ home, logger }))
    this.membership = this.#createMembership(renewals, watch)
    this.pins = this.#createPins(watch)
    this.neighbours = parts.add(this.#createNeighbours(watch))
  }

  start(): void {
    const { node, plane, onChange } = this.#options
    node.onAddressChange(() => {
      plane().refresh()
      onChange()
    })
    node.onRelayProblem(onChange)
    this.neighbours.start()
  }

  /** The control plane is there, again or another one. */
  connected(): void {
    void this.neighbours.askControlPlane()
    this.membership.connected()
    void this.pins.connected()
  }

  /** Where the connected members reach their control planes. */
  askMembers(): Promise<readonly Announcement[]> {
    return this.neighbours.askMembers()
  }

  /** What this device needs to answer as an admin of its pools. */
  get admin(): PoolAdminOptions {
    const { home, device, plane, revocations, logger, now } = this.#options
    return { home, key: device.key, client: plane().client, revocations, logger, now, answering: this.#answering }
  }

  #createGate(): Gate {
    const { home, node, revocations, now, logger, onChange } = this.#options
    return new Gate(node, poolDirectory(home, revocations), {
      now,
      logger,
      isRelay: (peer) => node.relays().some(({ address }) => address.includes(peer)),
      onAdmit: (connection, poolId) => this.#admitted(connection, poolId),
      onOtherVersion: ({ remotePeer }, error) => {
        if (this.otherVersions.met(remotePeer.toString(), error)) onChange()
      },
      onCertificate: (connection, poolId, number) => {
        if (number < (revocations.listOf(poolId)?.number ?? 0)) this.#spread.offer(connection, poolId)
        this.membership.met(connection, poolId)
      },
    })
  }

  #admitted(connection: Connection, poolId: string): void {
    this.otherVersions.agrees(connection.remotePeer.toString())
    this.neighbours.admitted(connection, poolId)
  }

  #createMembership(renewals: RenewalExchange, watch: PoolWatch): Membership {
    const { home, device, revocations, now, logger, plane } = this.#options
    return new Membership({
      home,
      watch,
      deviceId: device.deviceId,
      revocations,
      gate: this.gate,
      spread: this.#spread,
      renewals,
      now,
      logger,
      send: (message) => plane().send(message),
      onRenewed: () => plane().refresh(),
    })
  }

  #createPins(watch: PoolWatch): PoolPins {
    const { home, device, revocations, now, logger, plane } = this.#options
    return new PoolPins({
      home,
      watch,
      key: device.key,
      pins: this.knownPins,
      revocations,
      now,
      logger,
      client: () => plane().connected,
      controlPlaneId: () => plane().key,
      tellMembers: (poolId) => this.neighbours.tellPin(poolId),
      onChange: () => plane().recheck(),
    })
  }

  #createNeighbours(watch: PoolWatch): Neighbours {
    const { node, cache, logger, now, discovery, plane } = this.#options
    return new Neighbours({
      watch,
      node,
      gate: this.gate,
      cache,
      logger,
      now,
      discovery,
      controlPlane: () => plane().connected,
      pins: {
        pinOf: (poolId) => this.knownPins.pinOf(poolId)?.text,
        onPin: (poolId, text) => this.pins.receive(poolId, text),
      },
      onNews: () => plane().check(),
      onMoved: () => plane().moved(),
    })
  }
}
