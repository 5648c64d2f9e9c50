/** Members tell each other which control plane they use, so that one that moved is found again without a server. */
import type { Connection, Stream } from '@libp2p/interface'
import { Type } from 'typebox'
import { MeshError, problemOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { Hex64 } from '../../shared/schema/common.ts'
import { decodeCbor, encodeCbor } from '../../shared/wire/envelope.ts'
import { limits } from '../../shared/wire/limits.ts'
import { protocols } from '../../shared/wire/protocols.ts'
import type { Gate } from './gate.ts'
import { readMessage, sendMessage } from '../../shared/wire/message-stream.ts'
import type { MeshNode } from './node.ts'
import { openStream } from './open-stream.ts'

const Question = Type.Object({ poolId: Hex64 })
/** Best first. */
const Answer = Type.Object({ urls: Type.Array(Type.String({ minLength: 1, maxLength: 300, pattern: '^https?://[^\\s]+$' }), { maxItems: 8 }) })

const answerMs = 3000

export interface ControlPlaneExchangeOptions {
  readonly node: MeshNode
  readonly gate: Gate
  readonly logger: Logger
  /** What this device answers: addresses of the control plane it is connected to, as others see them. */
  answer(): Promise<readonly string[]>
}

export class ControlPlaneExchange {
  readonly #options: ControlPlaneExchangeOptions

  constructor(options: ControlPlaneExchangeOptions) {
    this.#options = options
    void options.node.libp2p.handle(protocols.controlPlane, (stream, connection) => this.#serve(stream, connection), { runOnLimitedConnection: true, maxInboundStreams: limits.worldSize })
  }

  /** @returns what the member at the other end uses; nothing when it does not say */
  async ask(connection: Connection, poolId: string): Promise<readonly string[]> {
    const signal = AbortSignal.timeout(answerMs)
    try {
      const stream = await openStream(connection, protocols.controlPlane, signal)
      try {
        sendMessage(stream, encodeCbor({ poolId }))
        return decodeCbor(Answer, await readMessage(stream, limits.gateBytes, signal)).urls
      } finally {
        await stream.close({ signal })
      }
    } catch (error) {
      this.#options.logger.debug({ peer: connection.remotePeer.toString(), problem: problemOf(error) }, 'a member did not say which control plane it uses')
      return []
    }
  }

  async #serve(stream: Stream, connection: Connection): Promise<void> {
    const signal = AbortSignal.timeout(answerMs)
    try {
      const { poolId } = decodeCbor(Question, await readMessage(stream, limits.gateBytes, signal))
      if (!this.#options.gate.isAdmitted(connection, poolId)) throw new MeshError('notMember', { deviceId: connection.remotePeer.toString(), poolId })
      sendMessage(stream, encodeCbor({ urls: await this.#options.answer() }))
      await stream.close({ signal })
    } catch (error) {
      stream.abort(error instanceof Error ? error : new Error(String(error)))
    }
  }
}
