/**
 * A member asks the agent of an admin, over their own connection, to renew its certificate: so memberships go on where
 * no control plane is reachable.
 */
import type { Connection, Stream } from '@libp2p/interface'
import { MeshError, problemOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { putLast } from '../../shared/put-last.ts'
import { decodeCbor, encodeCbor, RenewalAnswer, RenewalRequest } from '../../shared/wire/envelope.ts'
import { limits } from '../../shared/limits.ts'
import { protocols } from '../../shared/wire/protocols.ts'
import type { Gate } from './gate.ts'
import { readMessage, sendMessage } from '../../shared/wire/message-stream.ts'
import { formatDuration } from '../../shared/words.ts'
import type { MeshNode } from './node.ts'
import { openStream } from './open-stream.ts'
import { deviceIdOfPeer } from './peer-id.ts'

export interface RenewalExchangeOptions {
  readonly node: MeshNode
  readonly gate: Gate
  readonly logger: Logger
  readonly now: () => number
  /** Signs in place of the certificate that is shown, if it is one of the device that asks. @throws MeshError why not */
  renew(request: RenewalRequest, deviceId: string): string
}

const streamsAtOnce = 2
/** A device that asks more often is refused before anything is checked: a signature takes a millisecond. */
const everyMs = 10_000
/** Devices whose last request is remembered; only members get here. */
const mostDevices = 1000

export class RenewalExchange {
  readonly #options: RenewalExchangeOptions
  /** When each device asked last. */
  readonly #askedAt = new Map<string, number>()

  constructor(options: RenewalExchangeOptions) {
    this.#options = options
    void options.node.libp2p.handle(protocols.renewal, (stream, connection) => this.#serve(stream, connection), {
      runOnLimitedConnection: true,
      maxInboundStreams: streamsAtOnce,
    })
  }

  /** @returns the new certificate, not checked yet; @throws MeshError what the admin answered | `protocolVersion` | `frameInvalid` | Error when the connection fails */
  async ask(connection: Connection, request: RenewalRequest): Promise<string> {
    const signal = AbortSignal.timeout(limits.gateMs)
    const stream = await openStream(connection, protocols.renewal, signal)
    try {
      sendMessage(stream, encodeCbor(request))
      const answer = decodeCbor(RenewalAnswer, await readMessage(stream, limits.gateBytes, signal))
      await stream.close({ signal })
      if ('error' in answer) throw MeshError.fromReport(answer.error)
      return answer.certificate
    } catch (error) {
      stream.abort(error instanceof Error ? error : new Error(String(error)))
      throw error
    }
  }

  async #serve(stream: Stream, connection: Connection): Promise<void> {
    const { gate, logger } = this.#options
    const peer = connection.remotePeer.toString()
    const signal = AbortSignal.timeout(limits.gateMs)
    try {
      // before a byte is read
      if (!gate.isMember(connection)) throw new MeshError('notMember', { deviceId: peer, poolId: 'any' })
      const request = decodeCbor(RenewalRequest, await readMessage(stream, limits.gateBytes, signal))
      if (!gate.isAdmitted(connection, request.poolId))
        throw new MeshError('notMember', { deviceId: peer, poolId: request.poolId })
      sendMessage(stream, encodeCbor(this.#answer(connection, request)))
      await stream.close({ signal })
    } catch (error) {
      logger.warn({ peer, problem: problemOf(error) }, 'request for renewal refused')
      stream.abort(error instanceof Error ? error : new Error(String(error)))
    }
  }

  #answer(connection: Connection, request: RenewalRequest): RenewalAnswer {
    try {
      const deviceId = deviceIdOfPeer(connection.remotePeer)
      if (deviceId === undefined)
        throw new MeshError('notMember', { deviceId: connection.remotePeer.toString(), poolId: request.poolId })
      this.#pace(`${deviceId} ${request.poolId}`)
      return { certificate: this.#options.renew(request, deviceId) }
    } catch (error) {
      return { error: MeshError.from(error).toReport() }
    }
  }

  /** @throws MeshError `renewalRefused` */
  #pace(device: string): void {
    const now = this.#options.now()
    if (now - (this.#askedAt.get(device) ?? -Infinity) < everyMs)
      throw new MeshError('renewalRefused', { problem: `this device asked less than ${formatDuration(everyMs)} ago` })
    putLast(this.#askedAt, device, now, mostDevices)
  }
}
