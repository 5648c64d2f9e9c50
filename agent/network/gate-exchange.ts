/**
 * The exchange of certificates at the gate, one message each way. It is the one that is read before anybody is admitted:
 * who comes in is decided by it.
 */
import type { Connection, Stream } from '@libp2p/interface'
import { MeshError } from '../../shared/errors.ts'
import type { Certificate } from '../../shared/identity/pool-certificate.ts'
import { shortId } from '../../shared/ids.ts'
import { limits } from '../../shared/limits.ts'
import type { Logger } from '../../shared/log.ts'
import { GateAnswer, GateMessage } from '../../shared/wire/envelope.ts'
import { protocols } from '../../shared/wire/protocols.ts'
import { readTyped, sendTyped } from '../../shared/wire/typed-message.ts'
import { withTimeout } from '../../shared/with-timeout.ts'
import type { MeshNode } from './node.ts'
import { onStream } from './open-stream.ts'
import { deviceIdOfPeer } from './peer-id.ts'
import type { PoolPapers } from './pool-papers.ts'

export interface GateExchangeOptions {
  readonly node: MeshNode
  readonly papers: PoolPapers
  readonly logger: Logger
  /** The other side showed a good certificate, and the number of the list that it holds. */
  onShown(connection: Connection, certificate: Certificate, revocations: number): void
  /** Whether the connection stays when it is refused: it is admitted for another pool. */
  mayStay(connection: Connection): boolean
}

/** Gates that may be passed at once on one connection: two agents share few pools. */
const streamsAtOnce = 8
/** Milliseconds that saying goodbye may take. */
const closeMs = 1000

const forms = {
  message: { schema: GateMessage, bytes: limits.gateBytes },
  answer: { schema: GateAnswer, bytes: limits.gateBytes },
} as const

const untilClosed = (stream: Stream, ms: number): Promise<void> => {
  const closed = new Promise<void>((resolve) => stream.addEventListener('close', () => resolve()))
  return withTimeout(closed, ms, () => undefined)
}

export class GateExchange {
  readonly #options: GateExchangeOptions

  constructor(options: GateExchangeOptions) {
    this.#options = options
    void options.node.libp2p.handle(protocols.gate, (stream, connection) => this.#serve(stream, connection), {
      runOnLimitedConnection: true,
      maxInboundStreams: streamsAtOnce,
    })
  }

  stop(): void {
    void Promise.resolve(this.#options.node.libp2p.unhandle(protocols.gate)).catch(() => undefined) // the node may have stopped
  }

  /**
   * Shows our certificate and checks theirs, on a connection that may have passed before.
   * @throws MeshError `gateRefused` (with the reason of the other side) | `poolUnknown` | certificate errors | `protocolVersion`
   */
  async show(connection: Connection, poolId: string, signal: AbortSignal): Promise<void> {
    const { papers } = this.#options
    const { remotePeer } = connection
    papers.checkNotRemoved(remotePeer, poolId)
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(limits.gateMs)])
    await onStream(connection, protocols.gate, deadline, async (stream) => {
      sendTyped(stream, forms.message, { poolId, ...papers.own(poolId) })
      const answer = await readTyped(stream, forms.answer, deadline)
      if (answer.error?.code === 'protocolVersion') throw MeshError.fromReport(answer.error)
      if (!answer.ok || answer.certificate === undefined)
        throw new MeshError('gateRefused', {
          peer: shortId(deviceIdOfPeer(remotePeer) ?? remotePeer.toString()),
          problem: answer.error?.message ?? 'no reason given',
        })
      const certificate = this.#check(connection, poolId, answer.certificate)
      this.#options.onShown(connection, certificate, answer.revocations ?? 0)
    })
  }

  async #serve(stream: Stream, connection: Connection): Promise<void> {
    const { papers, onShown } = this.#options
    try {
      const message = await readTyped(stream, forms.message, AbortSignal.timeout(limits.gateMs))
      const certificate = this.#check(connection, message.poolId, message.certificate)
      sendTyped(stream, forms.answer, { ok: true, ...papers.own(message.poolId) })
      onShown(connection, certificate, message.revocations)
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
    if (this.#options.mayStay(connection)) return
    await connection.close({ signal: AbortSignal.timeout(closeMs) }).catch(() => connection.abort(error))
  }

  /** @throws MeshError certificate errors | `notMember` | `gateRefused` (too many connections) */
  #check(connection: Connection, poolId: string, text: string): Certificate {
    const certificate = this.#options.papers.check(connection.remotePeer, poolId, text)
    this.#options.node.doorway.admit(connection)
    return certificate
  }
}
