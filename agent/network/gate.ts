/**
 * The membership gate. Both ends of a connection show a certificate of the same pool before anything of ours is
 * served; the connection itself proves that the other side holds the key the certificate speaks of.
 */
import type { Connection, Stream } from '@libp2p/interface'
import { MeshError, problemOf } from '../../shared/errors.ts'
import {
  type Certificate,
  checkOwner,
  isRemoved,
  type Removals,
  verifyCertificate,
} from '../../shared/identity/pool-certificate.ts'
import { shortId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import { limits } from '../../shared/limits.ts'
import { GateAnswer, GateMessage } from '../../shared/wire/envelope.ts'
import { isOtherVersion } from '../../shared/wire/other-version.ts'
import { protocols } from '../../shared/wire/protocols.ts'
import { readTyped, sendTyped } from '../../shared/wire/typed-message.ts'
import { withTimeout } from '../../shared/with-timeout.ts'
import { Admissions } from './admissions.ts'
import type { Member } from './member.ts'
import { Newcomers } from './newcomers.ts'
import type { MeshNode } from './node.ts'
import { refuseOlderVersions } from './older-versions.ts'
import { onStream } from './open-stream.ts'
import { deviceIdOfPeer } from './peer-id.ts'

export type { Connection }

/** The pools of this device. */
export interface PoolDirectory {
  /** 32 bytes; `undefined` for a pool that this device is not in. */
  rootKeyOf(poolId: string): Uint8Array | undefined
  certificateOf(poolId: string): string | undefined
  /** Who was removed, and the number of the list that says so. Absent: nobody. */
  removalsOf?(poolId: string): Removals & { readonly number: number }
}

/** Gates that may be passed at once on one connection: two agents share few pools. */
const streamsAtOnce = 8
/** Milliseconds that saying goodbye may take. */
const closeMs = 1000

/** One message each way. They are read before anybody is admitted: who comes in is decided by them. */
const forms = {
  message: { schema: GateMessage, bytes: limits.gateBytes },
  answer: { schema: GateAnswer, bytes: limits.gateBytes },
} as const

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

const untilClosed = (stream: Stream, ms: number): Promise<void> => {
  const closed = new Promise<void>((resolve) => stream.addEventListener('close', () => resolve()))
  return withTimeout(closed, ms, () => undefined)
}

export class Gate {
  readonly #node: MeshNode
  readonly #directory: PoolDirectory
  readonly #options: GateOptions
  readonly #admissions: Admissions
  readonly #newcomers = new Newcomers((connection) => this.isMember(connection))
  /** What ends with the gate. */
  readonly #stops: (() => void)[] = []

  constructor(node: MeshNode, directory: PoolDirectory, options: GateOptions) {
    this.#node = node
    this.#directory = directory
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
    void node.libp2p.handle(protocols.gate, (stream, connection) => this.#serve(stream, connection), {
      runOnLimitedConnection: true,
      maxInboundStreams: streamsAtOnce,
    })
    this.onStop(stopOlder)
    this.onStop(() => void Promise.resolve(node.libp2p.unhandle(protocols.gate)).catch(() => undefined))
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
      await this.#exchange(connection, poolId, signal)
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

  /** Shows our certificate and checks theirs, on a connection that may have passed before. */
  async #exchange(connection: Connection, poolId: string, signal: AbortSignal): Promise<void> {
    const device = deviceIdOfPeer(connection.remotePeer)
    const peer = shortId(device ?? connection.remotePeer.toString())
    if (device !== undefined && this.#directory.removalsOf?.(poolId).has(device))
      throw new MeshError('memberRemoved', { deviceId: peer, poolId: shortId(poolId) })
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(limits.gateMs)])
    await onStream(connection, protocols.gate, deadline, async (stream) => {
      const own = { poolId, certificate: this.#ownCertificate(poolId), revocations: this.#listNumber(poolId) }
      sendTyped(stream, forms.message, own)
      const answer = await readTyped(stream, forms.answer, deadline)
      if (answer.error?.code === 'protocolVersion') throw MeshError.fromReport(answer.error)
      if (!answer.ok || answer.certificate === undefined)
        throw new MeshError('gateRefused', { peer, problem: answer.error?.message ?? 'no reason given' })
      const certificate = this.#check(connection, poolId, answer.certificate)
      this.#admit(connection, certificate, answer.revocations ?? 0)
    })
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
    const removals = this.#directory.removalsOf?.(poolId)
    if (removals === undefined) return
    for (const connection of this.connectionsOf(poolId)) {
      const certificate = this.#admissions.certificateOf(connection, poolId)
      if (certificate === undefined || !isRemoved(certificate, removals)) continue
      this.#admissions.cut(
        connection,
        new MeshError('memberRemoved', { deviceId: shortId(certificate.deviceId), poolId: shortId(poolId) }),
      )
    }
  }

  /** Our certificate of that pool was renewed: members learn it on the connections that are open. */
  refresh(poolId: string): void {
    for (const connection of this.connectionsOf(poolId)) {
      this.#exchange(connection, poolId, AbortSignal.timeout(limits.gateMs)).catch((error: unknown) =>
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

  async #serve(stream: Stream, connection: Connection): Promise<void> {
    try {
      const message = await readTyped(stream, forms.message, AbortSignal.timeout(limits.gateMs))
      const { poolId } = message
      const certificate = this.#check(connection, poolId, message.certificate)
      const own = { certificate: this.#ownCertificate(poolId), revocations: this.#listNumber(poolId) }
      sendTyped(stream, forms.answer, { ok: true, ...own })
      this.#admit(connection, certificate, message.revocations)
      await stream.close()
    } catch (error) {
      await this.#refuse(stream, connection, MeshError.from(error))
    }
  }

  async #refuse(stream: Stream, connection: Connection, error: MeshError): Promise<void> {
    this.#options.logger.warn(
      { peer: connection.remotePeer.toString(), code: error.code },
      `gate: refused (${error.message})`,
    )
    try {
      sendTyped(stream, forms.answer, { ok: false, error: error.toReport() })
      // closing the connection at once would throw the reason away: the other side reads it and ends the stream
      await untilClosed(stream, closeMs)
    } catch {
      // it is gone already
    }
    // a member of one pool keeps what it has when another pool refuses it
    if (this.isMember(connection)) return
    await connection.close({ signal: AbortSignal.timeout(closeMs) }).catch(() => connection.abort(error))
  }

  /** @throws MeshError `notMember` | `certificateInvalid` | `certificateExpired` | `memberRemoved` | `gateRefused` (too many connections) */
  #check(connection: Connection, poolId: string, text: string): Certificate {
    const rootKey = this.#directory.rootKeyOf(poolId)
    const device = deviceIdOfPeer(connection.remotePeer)
    if (rootKey === undefined || device === undefined)
      throw new MeshError('notMember', {
        deviceId: shortId(device ?? connection.remotePeer.toString()),
        poolId: shortId(poolId),
      })
    const certificate = verifyCertificate(text, rootKey, this.#options.now(), this.#directory.removalsOf?.(poolId))
    checkOwner(certificate, device)
    this.#node.doorway.admit(connection)
    return certificate
  }

  #listNumber(poolId: string): number {
    return this.#directory.removalsOf?.(poolId).number ?? 0
  }

  #ownCertificate(poolId: string): string {
    const certificate = this.#directory.certificateOf(poolId)
    if (certificate === undefined) throw new MeshError('poolUnknown', { poolId })
    return certificate
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
