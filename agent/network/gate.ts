/**
 * The membership gate. Both ends of a connection show a certificate of the same pool before anything of ours is
 * served; the connection itself proves that the other side holds the key the certificate speaks of.
 */
import type { Connection, Stream } from '@libp2p/interface'
import { MeshError, problemOf } from '../../shared/errors.ts'
import { verifyCertificate } from '../../shared/identity/pool-certificate.ts'
import { shortId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import { decodeCbor, encodeCbor, GateAnswer, GateMessage } from '../../shared/wire/envelope.ts'
import { limits } from '../../shared/wire/limits.ts'
import { protocols } from '../../shared/wire/protocols.ts'
import { readMessage, sendMessage } from './message-reader.ts'
import type { MeshNode } from './node.ts'
import { openStream } from './open-stream.ts'
import { deviceIdOfPeer } from './peer-id.ts'

/** The pools of this device. */
export interface PoolDirectory {
  /** 32 bytes; `undefined` for a pool that this device is not in. */
  rootKeyOf(poolId: string): Uint8Array | undefined
  certificateOf(poolId: string): string | undefined
}

/** Gates that may be passed at once on one connection: two agents share few pools. */
const streamsAtOnce = 8
/** Milliseconds that saying goodbye may take. */
const closeMs = 1000

export interface GateOptions {
  readonly now: () => number
  readonly logger: Logger
  /** Peers that never join a pool but may stay connected: our relays. */
  readonly isRelay?: (peerId: string) => boolean
  /** Told once for each connection and pool. */
  readonly onAdmit?: (connection: Connection, poolId: string) => void
}

const untilClosed = (stream: Stream, ms: number): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms)
    stream.addEventListener('close', () => {
      clearTimeout(timer)
      resolve()
    })
  })

export class Gate {
  readonly #node: MeshNode
  readonly #directory: PoolDirectory
  readonly #options: GateOptions
  readonly #admitted = new WeakMap<Connection, Set<string>>()
  /** Inbound connections that have yet to prove membership. */
  readonly #deadlines = new Map<string, NodeJS.Timeout>()

  constructor(node: MeshNode, directory: PoolDirectory, options: GateOptions) {
    this.#node = node
    this.#directory = directory
    this.#options = options
    node.libp2p.addEventListener('connection:open', this.#watch)
    node.libp2p.addEventListener('connection:close', this.#forget)
    void node.libp2p.handle(protocols.gate, (stream, connection) => this.#serve(stream, connection), { runOnLimitedConnection: true, maxInboundStreams: streamsAtOnce })
  }

  /**
   * Passes the gate of that pool on a connection we opened; at once when it is passed already.
   * @throws MeshError `gateRefused` (with the reason of the other side) | `poolUnknown` | certificate errors | `protocolVersion`
   */
  async enter(connection: Connection, poolId: string, signal: AbortSignal): Promise<void> {
    if (this.isAdmitted(connection, poolId)) return
    const peer = shortId(deviceIdOfPeer(connection.remotePeer) ?? connection.remotePeer.toString())
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(limits.gateMs)])
    const stream = await openStream(connection, protocols.gate, deadline)
    try {
      sendMessage(stream, encodeCbor({ poolId, certificate: this.#ownCertificate(poolId) }))
      const answer = decodeCbor(GateAnswer, await readMessage(stream, limits.gateBytes, deadline))
      if (!answer.ok || answer.certificate === undefined) throw new MeshError('gateRefused', { peer, problem: answer.error?.message ?? 'no reason given' })
      this.#check(connection, poolId, answer.certificate)
      this.#admit(connection, poolId)
      await stream.close()
    } catch (error) {
      stream.abort(error instanceof Error ? error : new Error(String(error)))
      throw error
    }
  }

  /** True when the other side of the connection proved membership of that pool. */
  isAdmitted(connection: Connection, poolId: string): boolean {
    return this.#admitted.get(connection)?.has(poolId) ?? false
  }

  /** True when it proved membership of any pool of ours. */
  isMember(connection: Connection): boolean {
    return this.#admitted.has(connection)
  }

  stop(): void {
    this.#node.libp2p.removeEventListener('connection:open', this.#watch)
    this.#node.libp2p.removeEventListener('connection:close', this.#forget)
    for (const timer of this.#deadlines.values()) clearTimeout(timer)
  }

  async #serve(stream: Stream, connection: Connection): Promise<void> {
    try {
      const message = decodeCbor(GateMessage, await readMessage(stream, limits.gateBytes, AbortSignal.timeout(limits.gateMs)))
      this.#check(connection, message.poolId, message.certificate)
      sendMessage(stream, encodeCbor({ ok: true, certificate: this.#ownCertificate(message.poolId) }))
      this.#admit(connection, message.poolId)
      await stream.close()
    } catch (error) {
      await this.#refuse(stream, connection, MeshError.from(error))
    }
  }

  async #refuse(stream: Stream, connection: Connection, error: MeshError): Promise<void> {
    this.#options.logger.warn({ peer: connection.remotePeer.toString(), code: error.code }, `gate: refused (${error.message})`)
    try {
      sendMessage(stream, encodeCbor({ ok: false, error: error.toReport() }))
      // closing the connection at once would throw the reason away: the other side reads it and ends the stream
      await untilClosed(stream, closeMs)
    } catch {
      // it is gone already
    }
    // a member of one pool keeps what it has when another pool refuses it
    if (this.isMember(connection)) return
    await connection.close({ signal: AbortSignal.timeout(closeMs) }).catch(() => connection.abort(error))
  }

  /** @throws MeshError `notMember` | `certificateInvalid` | `certificateExpired` */
  #check(connection: Connection, poolId: string, certificate: string): void {
    const rootKey = this.#directory.rootKeyOf(poolId)
    const device = deviceIdOfPeer(connection.remotePeer)
    if (rootKey === undefined || device === undefined) throw new MeshError('notMember', { deviceId: shortId(device ?? connection.remotePeer.toString()), poolId: shortId(poolId) })
    const { deviceId } = verifyCertificate(certificate, rootKey, this.#options.now())
    if (deviceId !== device) throw new MeshError('certificateInvalid', { problem: 'it belongs to another device' })
  }

  #ownCertificate(poolId: string): string {
    const certificate = this.#directory.certificateOf(poolId)
    if (certificate === undefined) throw new MeshError('poolUnknown', { poolId })
    return certificate
  }

  #admit(connection: Connection, poolId: string): void {
    const isNew = !this.isAdmitted(connection, poolId)
    this.#admitted.set(connection, (this.#admitted.get(connection) ?? new Set()).add(poolId))
    this.#clear(connection.id)
    if (isNew) this.#options.onAdmit?.(connection, poolId)
  }

  #clear(connectionId: string): void {
    clearTimeout(this.#deadlines.get(connectionId))
    this.#deadlines.delete(connectionId)
  }

  /**
   * A further connection to a member: libp2p makes a direct one by itself while a relayed one is in use. It passes
   * the gate like the first, or the other side would close it and the ring would stay on the relay.
   */
  async #enterAgain(connection: Connection): Promise<void> {
    const others = this.#node.libp2p.getConnections(connection.remotePeer)
    const pools = new Set(others.flatMap((other) => [...(this.#admitted.get(other) ?? [])]))
    for (const poolId of pools) await this.enter(connection, poolId, AbortSignal.timeout(limits.gateMs))
  }

  /** An inbound connection has so long to prove membership. */
  readonly #watch = ({ detail: connection }: { readonly detail: Connection }): void => {
    const peer = connection.remotePeer.toString()
    if (connection.direction === 'outbound') {
      this.#enterAgain(connection).catch((error: unknown) => this.#options.logger.debug({ peer, problem: problemOf(error) }, 'gate: not passed on a further connection'))
      return
    }
    if (this.#options.isRelay?.(peer)) return
    const timer = setTimeout(() => {
      this.#deadlines.delete(connection.id)
      if (!this.isMember(connection)) connection.abort(new MeshError('gateRefused', { peer, problem: 'no certificate in time' }))
    }, limits.gateMs)
    timer.unref()
    this.#deadlines.set(connection.id, timer)
  }

  readonly #forget = ({ detail: connection }: { readonly detail: Connection }): void => this.#clear(connection.id)
}
