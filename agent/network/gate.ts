/**
 * The membership gate. Both ends of a connection show a certificate of the same pool before anything of ours is
 * served; the connection itself proves that the other side holds the key the certificate speaks of.
 */
import type { Connection, Stream } from '@libp2p/interface'
import { MeshError } from '../../shared/errors.ts'
import { verifyCertificate } from '../../shared/identity/pool-certificate.ts'
import { shortId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import { decodeCbor, encodeCbor, GateAnswer, GateMessage } from '../../shared/wire/envelope.ts'
import { limits } from '../../shared/wire/limits.ts'
import { protocols } from '../../shared/wire/protocols.ts'
import { readMessage, sendMessage } from './message-reader.ts'
import type { MeshNode } from './node.ts'
import { deviceIdOfPeer } from './peer-id.ts'

/** The pools of this device. */
export interface PoolDirectory {
  /** 32 bytes; `undefined` for a pool that this device is not in. */
  rootKeyOf(poolId: string): Uint8Array | undefined
  certificateOf(poolId: string): string | undefined
}

export interface GateOptions {
  readonly now: () => number
  readonly logger: Logger
  /** Peers that never join a pool but may stay connected: our relays. */
  readonly isRelay?: (peerId: string) => boolean
}

export interface Gate {
  /** Passes the gate of that pool on a connection we opened; at once when it is passed already. @throws MeshError */
  enter(connection: Connection, poolId: string, signal: AbortSignal): Promise<void>
  /** True when the other side of the connection proved membership of that pool. */
  isAdmitted(connection: Connection, poolId: string): boolean
  stop(): void
}

export const createGate = (node: MeshNode, directory: PoolDirectory, { now, logger, isRelay = () => false }: GateOptions): Gate => {
  const admitted = new WeakMap<Connection, Set<string>>()
  const deadlines = new Map<string, NodeJS.Timeout>()

  const admit = (connection: Connection, poolId: string): void => {
    admitted.set(connection, (admitted.get(connection) ?? new Set()).add(poolId))
    clearTimeout(deadlines.get(connection.id))
    deadlines.delete(connection.id)
  }

  /** @throws MeshError `notMember` | `certificateInvalid` | `certificateExpired` */
  const check = (connection: Connection, poolId: string, certificate: string): void => {
    const rootKey = directory.rootKeyOf(poolId)
    const device = deviceIdOfPeer(connection.remotePeer)
    if (rootKey === undefined || device === undefined) throw new MeshError('notMember', { deviceId: shortId(device ?? connection.remotePeer.toString()), poolId: shortId(poolId) })
    const { deviceId } = verifyCertificate(certificate, rootKey, now())
    if (deviceId !== device) throw new MeshError('certificateInvalid', { problem: 'it belongs to another device' })
  }

  const ownCertificate = (poolId: string): string => {
    const certificate = directory.certificateOf(poolId)
    if (certificate === undefined) throw new MeshError('poolUnknown', { poolId })
    return certificate
  }

  const serve = async (stream: Stream, connection: Connection): Promise<void> => {
    try {
      const message = decodeCbor(GateMessage, await readMessage(stream, limits.gateBytes, AbortSignal.timeout(limits.gateMs)))
      check(connection, message.poolId, message.certificate)
      sendMessage(stream, encodeCbor({ ok: true, certificate: ownCertificate(message.poolId) }))
      admit(connection, message.poolId)
      await stream.close()
    } catch (error) {
      const report = MeshError.from(error).toReport()
      logger.warn({ peer: connection.remotePeer.toString(), code: report.code }, `gate: refused (${report.message})`)
      try {
        sendMessage(stream, encodeCbor({ ok: false, error: report }))
        await stream.close({ signal: AbortSignal.timeout(1000) })
      } catch {
        // it is gone already
      }
      await connection.close({ signal: AbortSignal.timeout(1000) }).catch(() => connection.abort(new Error('gate refused')))
    }
  }

  const enter: Gate['enter'] = async (connection, poolId, signal) => {
    if (admitted.get(connection)?.has(poolId)) return
    const peer = shortId(deviceIdOfPeer(connection.remotePeer) ?? connection.remotePeer.toString())
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(limits.gateMs)])
    const stream = await connection.newStream(protocols.gate, { signal: deadline, runOnLimitedConnection: true })
    try {
      sendMessage(stream, encodeCbor({ poolId, certificate: ownCertificate(poolId) }))
      const answer = decodeCbor(GateAnswer, await readMessage(stream, limits.gateBytes, deadline))
      if (!answer.ok || answer.certificate === undefined) throw new MeshError('gateRefused', { peer, problem: answer.error?.message ?? 'no reason given' })
      check(connection, poolId, answer.certificate)
      admit(connection, poolId)
      await stream.close()
    } catch (error) {
      stream.abort(error instanceof Error ? error : new Error(String(error)))
      throw error
    }
  }

  /** An inbound connection has so long to prove membership. */
  const watch = (event: { readonly detail: Connection }): void => {
    const connection = event.detail
    if (connection.direction !== 'inbound' || isRelay(connection.remotePeer.toString())) return
    const timer = setTimeout(() => {
      deadlines.delete(connection.id)
      if (!admitted.has(connection)) connection.abort(new MeshError('gateRefused', { peer: connection.remotePeer.toString(), problem: 'no certificate in time' }))
    }, limits.gateMs)
    timer.unref()
    deadlines.set(connection.id, timer)
  }
  const forget = (event: { readonly detail: Connection }): void => {
    clearTimeout(deadlines.get(event.detail.id))
    deadlines.delete(event.detail.id)
  }
  node.libp2p.addEventListener('connection:open', watch)
  node.libp2p.addEventListener('connection:close', forget)
  void node.libp2p.handle(protocols.gate, (stream, connection) => serve(stream, connection), { runOnLimitedConnection: true, maxInboundStreams: 2 })

  return {
    enter,
    isAdmitted: (connection, poolId) => admitted.get(connection)?.has(poolId) ?? false,
    stop: () => {
      node.libp2p.removeEventListener('connection:open', watch)
      node.libp2p.removeEventListener('connection:close', forget)
      for (const timer of deadlines.values()) clearTimeout(timer)
    },
  }
}
