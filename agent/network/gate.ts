/**
 * The membership gate. Both ends of a connection show a certificate of the same pool before anything of ours is
 * served; the connection itself proves that the other side holds the key the certificate speaks of.
 */
import type { Connection } from '@libp2p/interface'
import { MeshError, problemOf } from '../../shared/errors.ts'
import type { Certificate } from '../../shared/identity/pool-certificate.ts'
import { shortId } from '../../shared/ids.ts'
import { limits } from '../../shared/limits.ts'
import type { Logger } from '../../shared/log.ts'
import { isOtherVersion } from '../../shared/wire/other-version.ts'
import { Admissions } from './admissions.ts'
import { GateExchange } from './gate-exchange.ts'
import type { Member } from './member.ts'
import { Newcomers } from './newcomers.ts'
import type { MeshNode } from './node.ts'
import { refuseOlderVersions } from './older-versions.ts'
import { deviceIdOfPeer } from './peer-id.ts'
import { type PoolDirectory, PoolPapers } from './pool-papers.ts'

export type { Connection }

export interface GateOptions {
  readonly now: () => number
  readonly logger: Logger
  /** Peers that never join a pool but may stay connected: our relays. */
  readonly isRelay?: (peerId: string) => boolean
  /** Told once for each connection and pool. */
  readonly onAdmit?: (connection: Connection, poolId: string) => void
  /** A member came in, or showed a new certificate. `revocations`: number of the list that it holds. */
  readonly onCertificate?: (connection: Connection, poolId: string, revocations: number) => void
  /** The other side speaks a version that is not spoken here. */
  readonly onOtherVersion?: (connection: Connection, error: MeshError) => void
}

export class Gate {
  readonly #node: MeshNode
  readonly #papers: PoolPapers
  readonly #exchange: GateExchange
  readonly #options: GateOptions
  readonly #admissions: Admissions
  readonly #newcomers = new Newcomers((connection) => this.isMember(connection))
  /** What ends with the gate. */
  readonly #stops: (() => void)[] = []

  constructor(node: MeshNode, directory: PoolDirectory, options: GateOptions) {
    this.#node = node
    this.#papers = new PoolPapers(directory, options.now)
    this.#options = options
    this.#admissions = new Admissions(options)
    node.libp2p.addEventListener('connection:open', this.#watch)
    node.libp2p.addEventListener('connection:close', this.#forget)
    // what libp2p serves by itself is for members and our relays only
    node.ownProtocols.guard((connection) => this.#untilAdmitted(connection))
    const stopOlder = refuseOlderVersions({
      node,
      name: `device ${shortId(deviceIdOfPeer(node.libp2p.peerId) ?? node.peerId)}`,
      isMember: (connection) => this.isMember(connection),
      onMet: (connection, error) => this.#met(connection, error),
    })
    this.#exchange = new GateExchange({
      node,
      papers: this.#papers,
      logger: options.logger,
      onShown: (connection, certificate, revocations) => this.#admit(connection, certificate, revocations),
      mayStay: (connection) => this.isMember(connection),
    })
    this.onStop(stopOlder)
    this.onStop(() => this.#exchange.stop())
  }

  /** What is served to members is served no longer than the gate stands. */
  onStop(stop: () => void): void {
    this.#stops.push(stop)
  }

  /**
   * Passes the gate of that pool on a connection we opened; at once when it is passed already.
   * @throws MeshError `gateRefused` (with the reason of the other side) | `poolUnknown` | certificate errors | `protocolVersion`
   */
  async enter(connection: Connection, poolId: string, signal: AbortSignal): Promise<void> {
    if (this.isAdmitted(connection, poolId)) return
    try {
      await this.#exchange.show(connection, poolId, signal)
    } catch (error) {
      if (isOtherVersion(error)) this.#met(connection, error)
      throw error
    }
  }

  /** The other side speaks another version, as both ends are told. */
  #met(connection: Connection, error: MeshError): void {
    this.#options.logger.warn({ peer: connection.remotePeer.toString() }, `${error.message}: ${error.hint}`)
    this.#options.onOtherVersion?.(connection, error)
  }

  /** True when the other side of the connection proved membership of that pool. */
  isAdmitted(connection: Connection, poolId: string): boolean {
    return this.#admissions.certificateOf(connection, poolId) !== undefined
  }

  /** True when it proved membership of any pool of ours. */
  isMember(connection: Connection): boolean {
    return this.memberOn(connection) !== undefined
  }

  /** The other side, if it proved that: who serves members is given it. */
  memberOn(connection: Connection): Member | undefined {
    return this.#admissions.memberOn(connection)
  }

  /** Open connections to members of that pool. */
  connectionsOf(poolId: string): Connection[] {
    return this.#node.libp2p
      .getConnections()
      .filter((connection) => connection.status === 'open' && this.isAdmitted(connection, poolId))
  }

  /** Those of them whose other side is an admin. */
  adminsOf(poolId: string): Connection[] {
    return this.connectionsOf(poolId).filter(
      (connection) => this.#admissions.certificateOf(connection, poolId)?.role === 'admin',
    )
  }

  /** The list of removals changed: whoever is on it, or was let in by an admin that is, loses its connections. */
  recheck(poolId: string): void {
    for (const connection of this.connectionsOf(poolId)) {
      const certificate = this.#admissions.certificateOf(connection, poolId)
      if (certificate === undefined || !this.#papers.isRemoved(certificate)) continue
      this.#admissions.cut(
        connection,
        new MeshError('memberRemoved', { deviceId: shortId(certificate.deviceId), poolId: shortId(poolId) }),
      )
    }
  }

  /** Our certificate of that pool was renewed: members learn it on the connections that are open. */
  refresh(poolId: string): void {
    for (const connection of this.connectionsOf(poolId)) {
      this.#exchange
        .show(connection, poolId, AbortSignal.timeout(limits.gateMs))
        .catch((error: unknown) =>
          this.#options.logger.debug(
            { peer: connection.remotePeer.toString(), problem: problemOf(error) },
            'gate: new certificate not shown',
          ),
        )
    }
  }

  stop(): void {
    for (const stop of this.#stops) stop()
    for (const connection of this.#node.libp2p.getConnections()) this.#admissions.end(connection)
    this.#node.libp2p.removeEventListener('connection:open', this.#watch)
    this.#node.libp2p.removeEventListener('connection:close', this.#forget)
    this.#newcomers.stop()
  }

  #admit(connection: Connection, certificate: Certificate, revocations: number): void {
    const { poolId } = certificate
    const isNew = this.#admissions.admit(connection, certificate)
    this.#newcomers.settle(connection.id)
    if (isNew) this.#options.onAdmit?.(connection, poolId)
    this.#options.onCertificate?.(connection, poolId, revocations)
  }

  /** @throws MeshError `notMember` */
  async #untilAdmitted(connection: Connection): Promise<void> {
    const isFree = (): boolean =>
      this.isMember(connection) || this.#options.isRelay?.(connection.remotePeer.toString()) === true
    if (!isFree()) await this.#newcomers.settled(connection)
    if (!isFree()) throw new MeshError('notMember', { deviceId: connection.remotePeer.toString(), poolId: 'any' })
  }

  /**
   * A further connection to a member: libp2p makes a direct one by itself while a relayed one is in use. It passes
   * the gate like the first, or the other side would close it and the ring would stay on the relay.
   */
  async #enterAgain(connection: Connection): Promise<void> {
    const others = this.#node.libp2p.getConnections(connection.remotePeer)
    const pools = new Set(others.flatMap((other) => this.#admissions.poolsOf(other)))
    for (const poolId of pools) await this.enter(connection, poolId, AbortSignal.timeout(limits.gateMs))
  }

  /** An inbound connection has so long to prove membership. */
  readonly #watch = ({ detail: connection }: { readonly detail: Connection }): void => {
    const peer = connection.remotePeer.toString()
    if (connection.direction === 'outbound') {
      this.#enterAgain(connection).catch((error: unknown) =>
        this.#options.logger.debug({ peer, problem: problemOf(error) }, 'gate: not passed on a further connection'),
      )
      return
    }
    if (this.#options.isRelay?.(peer)) return this.#node.doorway.spare(connection)
    this.#newcomers.expect(connection)
  }

  readonly #forget = ({ detail: connection }: { readonly detail: Connection }): void => {
    this.#newcomers.settle(connection.id)
    this.#admissions.end(connection)
  }
}
