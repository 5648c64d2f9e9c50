/**
 * Keeps a relay to the members of the pools that it serves. A device shows a certificate of one of them before its
 * first request is read; it may then reserve a slot, and connect to members of the pools that it proved. A connection
 * that proves nothing is closed after a few seconds.
 */
import { RELAY_V2_HOP_CODEC } from '@libp2p/circuit-relay-v2'
import type { Connection, ConnectionGater, Libp2p, PeerId, Stream, StreamHandler } from '@libp2p/interface'
import { MeshError } from '../shared/errors.ts'
import type { Certificate } from '../shared/identity/pool-certificate.ts'
import { toHex } from '../shared/identity/keys.ts'
import { shortId } from '../shared/ids.ts'
import type { Logger } from '../shared/log.ts'
import { limits } from '../shared/limits.ts'
import { protocols } from '../shared/wire/protocols.ts'
import { relayForms } from '../shared/wire/relay-forms.ts'
import { readTyped, sendTyped } from '../shared/wire/typed-message.ts'
import { RelayMembers } from './relay-members.ts'
import type { ServedPools } from './served-pools.ts'

/** The part of libp2p's registrar that puts a guard before the handler of the relay service. */
export interface Registrar {
  getHandler(protocol: string): { readonly handler: StreamHandler; readonly options: object }
  handle(protocol: string, handler: StreamHandler, options: object & { readonly force: true }): Promise<void>
}

/** Proofs that may run at once on one connection. */
const proofsAtOnce = 4
/** Requests that may wait for a proof on one connection. */
const waitingAtOnce = 16
/** Proofs that may fail on one connection: a device shows one for each pool that it is in. */
const failuresAllowed = 16
/** Milliseconds that the other side may take to read why it was refused. */
const closeMs = 1000

export interface RelayGateOptions {
  readonly pools: ServedPools
  readonly now: () => number
  readonly logger: Logger
  /** A device is no member any more: its slot is free. */
  onLeave(peer: PeerId): void
  /** A device proved that it is one. */
  onMember?(peer: PeerId): void
}

const deviceOf = (peer: PeerId): string | undefined => (peer.type === 'Ed25519' ? toHex(peer.publicKey.raw) : undefined)

export class RelayGate {
  readonly #options: RelayGateOptions
  readonly #members: RelayMembers
  readonly #deadlines = new Map<string, NodeJS.Timeout>()
  readonly #failures = new WeakMap<Connection, number>()
  /** Requests that came before the proof, by peer id. */
  readonly #waiting = new Map<string, Set<() => void>>()
  #libp2p: Libp2p | undefined

  constructor(options: RelayGateOptions) {
    this.#options = options
    this.#members = new RelayMembers({
      ...options,
      isRemoved: (certificate) => options.pools.isRemoved(certificate),
      onExpelled: (peer, error) => this.#cut(peer, error),
    })
  }

  /** What libp2p asks before it grants a slot or opens a circuit. */
  readonly gater: ConnectionGater = {
    denyInboundRelayReservation: (source) => !this.#members.has(source.toString()),
    denyOutboundRelayedConnection: (source, destination) =>
      !this.#members.sharePool(source.toString(), destination.toString()),
  }

  /** Call it when libp2p and its relay service have started. */
  async attach(libp2p: Libp2p, registrar: Registrar): Promise<void> {
    this.#libp2p = libp2p
    libp2p.addEventListener('connection:open', ({ detail }) => this.#watch(detail))
    libp2p.addEventListener('connection:close', ({ detail }) => this.#unwatch(detail))
    libp2p.addEventListener('peer:disconnect', ({ detail }) => this.#members.forget(detail))
    const { handler, options } = registrar.getHandler(RELAY_V2_HOP_CODEC)
    const guarded: StreamHandler = async (stream, connection) => {
      try {
        await this.#untilMember(connection)
      } catch (error) {
        return stream.abort(MeshError.from(error))
      }
      await handler(stream, connection)
    }
    await registrar.handle(RELAY_V2_HOP_CODEC, guarded, { ...options, force: true })
    await libp2p.handle(protocols.relayProof, (stream, connection) => this.#serve(stream, connection), {
      maxInboundStreams: proofsAtOnce,
    })
    for (const connection of libp2p.getConnections()) this.#watch(connection)
  }

  stop(): void {
    for (const timer of this.#deadlines.values()) clearTimeout(timer)
    this.#members.stop()
  }

  async #serve(stream: Stream, connection: Connection): Promise<void> {
    const { pools, logger } = this.#options
    const deadline = AbortSignal.timeout(limits.gateMs)
    try {
      const proof = await readTyped(stream, relayForms.proof, deadline)
      const certificate = pools.check(deviceOf(connection.remotePeer), proof)
      const held = pools.listNumber(proof.poolId)
      this.#admit(connection.remotePeer, certificate)
      sendTyped(stream, relayForms.answer, { ok: true, revocations: held })
      if (proof.revocations > held) {
        const { poolId, list } = await readTyped(stream, relayForms.list, deadline)
        if (poolId === proof.poolId && pools.accept(poolId, list)) this.#members.recheck(poolId)
      }
      await stream.close({ signal: deadline })
    } catch (error) {
      const failure = MeshError.from(error)
      logger.info({ peer: connection.remotePeer.toString(), code: failure.code }, `refused: ${failure.message}`)
      await this.#refuse(stream, connection, failure)
    }
  }

  /** Says why. The connection stays until its deadline: the device may be a member of another pool. */
  async #refuse(stream: Stream, connection: Connection, error: MeshError): Promise<void> {
    const failures = (this.#failures.get(connection) ?? 0) + 1
    this.#failures.set(connection, failures)
    try {
      sendTyped(stream, relayForms.answer, { ok: false, error: error.toReport() })
      await stream.close({ signal: AbortSignal.timeout(closeMs) })
    } catch (failure) {
      stream.abort(failure as Error)
    }
    if (failures > failuresAllowed) connection.abort(error)
  }

  #admit(peer: PeerId, certificate: Certificate): void {
    const id = peer.toString()
    this.#members.admit(peer, certificate)
    this.#options.onMember?.(peer)
    for (const resume of this.#waiting.get(id) ?? []) resume()
    this.#options.logger.debug({ peer: id, pool: shortId(certificate.poolId) }, 'member')
  }

  /** It is no member of one of its pools any more: all of its connections end. */
  #cut(peer: PeerId, error: MeshError): void {
    for (const connection of this.#libp2p?.getConnections(peer) ?? []) connection.abort(error)
    this.#options.onLeave(peer)
  }

  /** A connection has so long to prove membership. */
  #watch(connection: Connection): void {
    const peer = connection.remotePeer.toString()
    if (this.#deadlines.has(connection.id)) return
    const timer = setTimeout(() => {
      this.#deadlines.delete(connection.id)
      if (!this.#members.has(peer))
        connection.abort(new MeshError('gateRefused', { peer, problem: 'no certificate in time' }))
    }, limits.gateMs)
    this.#deadlines.set(connection.id, timer.unref())
  }

  #unwatch(connection: Connection): void {
    clearTimeout(this.#deadlines.get(connection.id))
    this.#deadlines.delete(connection.id)
  }

  /** A device that dials through us proves its membership at the same moment: its request waits unread. @throws MeshError `notMember` */
  async #untilMember({ remotePeer }: Connection): Promise<void> {
    const id = remotePeer.toString()
    if (!this.#members.has(id) && (this.#waiting.get(id)?.size ?? 0) < waitingAtOnce) await this.#proofOf(id)
    if (!this.#members.has(id)) throw new MeshError('notMember', { deviceId: id, poolId: 'any that this relay serves' })
  }

  /** Settles when the peer proved something, or had time enough for it. */
  #proofOf(id: string): Promise<void> {
    return new Promise((resolve) => {
      const waiting = this.#waiting.get(id) ?? new Set()
      this.#waiting.set(id, waiting)
      const settle = (): void => {
        clearTimeout(timer)
        waiting.delete(settle)
        if (waiting.size === 0) this.#waiting.delete(id)
        resolve()
      }
      const timer = setTimeout(settle, limits.gateMs).unref()
      waiting.add(settle)
    })
  }
}
