/**
 * Members tell each other which control plane serves their pool (a statement of its admins), and where they reach it: so
 * one that moved is found again without a server. The statement is checked by whoever holds the pool's root key; the
 * addresses are worth no more than the key that is proven there.
 */
import type { Connection, Stream } from '@libp2p/interface'
import { Type } from 'typebox'
import { MeshError, problemOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { Hex64 } from '../../shared/schema/common.ts'
import { PinText } from '../../shared/schema/pool.ts'
import { decodeCbor, encodeCbor } from '../../shared/wire/envelope.ts'
import { limits } from '../../shared/limits.ts'
import { protocols } from '../../shared/wire/protocols.ts'
import type { Gate } from './gate.ts'
import { readMessage, sendMessage } from '../../shared/wire/message-stream.ts'
import type { MeshNode } from './node.ts'
import { openStream } from './open-stream.ts'

/** Both ends show the pin that they hold. */
export const Question = Type.Object({ poolId: Hex64, pin: Type.Optional(PinText) })
export const Answer = Type.Object({
  /** Best first. */
  urls: Type.Array(Type.String({ minLength: 1, maxLength: 300, pattern: '^https?://[^\\s]+$' }), {
    maxItems: limits.announcedControlPlanes,
  }),
  pin: Type.Optional(PinText),
})

const answerMs = 3000
/** Questions that one member may have open at a time: it asks for each pool that both are in. */
const streamsAtOnce = 8

export interface ControlPlaneExchangeOptions {
  readonly node: MeshNode
  readonly gate: Gate
  readonly logger: Logger
  /** What this device answers: addresses of the control plane it is connected to, as others see them. */
  answer(): Promise<readonly string[]>
  /** The pin that this device holds of a pool. */
  pinOf(poolId: string): string | undefined
  /** A member showed a pin, checked by nobody yet. @throws MeshError `pinInvalid` */
  onPin(poolId: string, text: string): void
}

export class ControlPlaneExchange {
  readonly #options: ControlPlaneExchangeOptions

  constructor(options: ControlPlaneExchangeOptions) {
    this.#options = options
    void options.node.libp2p.handle(protocols.controlPlane, (stream, connection) => this.#serve(stream, connection), {
      runOnLimitedConnection: true,
      maxInboundStreams: streamsAtOnce,
    })
  }

  /**
   * Shows the member at the other end the pin of this device, and takes its own.
   * @returns where it reaches its control plane; nothing when it does not say
   */
  async ask(connection: Connection, poolId: string): Promise<readonly string[]> {
    const { pinOf } = this.#options
    const signal = AbortSignal.timeout(answerMs)
    try {
      const stream = await openStream(connection, protocols.controlPlane, signal)
      try {
        sendMessage(stream, encodeCbor({ poolId, ...withPin(pinOf(poolId)) } satisfies Type.Static<typeof Question>))
        const { urls, pin } = decodeCbor(Answer, await readMessage(stream, limits.gateBytes, signal))
        this.#take(connection, poolId, pin)
        return urls
      } finally {
        await stream.close({ signal })
      }
    } catch (error) {
      this.#options.logger.debug(
        { peer: connection.remotePeer.toString(), problem: problemOf(error) },
        'a member did not say which control plane it uses',
      )
      return []
    }
  }

  /** What a member shows costs it nothing when it does not hold: it may be the older one. */
  #take(connection: Connection, poolId: string, pin: string | undefined): void {
    if (pin === undefined || pin === this.#options.pinOf(poolId)) return
    try {
      this.#options.onPin(poolId, pin)
    } catch (error) {
      this.#options.logger.warn(
        { peer: connection.remotePeer.toString(), problem: problemOf(error) },
        'what a member says of the control plane is refused',
      )
    }
  }

  async #serve(stream: Stream, connection: Connection): Promise<void> {
    const { gate, answer, pinOf } = this.#options
    const signal = AbortSignal.timeout(answerMs)
    const deviceId = connection.remotePeer.toString()
    try {
      // before a byte is read
      if (!gate.isMember(connection)) throw new MeshError('notMember', { deviceId, poolId: 'any' })
      const { poolId, pin } = decodeCbor(Question, await readMessage(stream, limits.gateBytes, signal))
      if (!gate.isAdmitted(connection, poolId)) throw new MeshError('notMember', { deviceId, poolId })
      // ours as it was: two that differ are compared on both sides alike
      const own = pinOf(poolId)
      this.#take(connection, poolId, pin)
      sendMessage(
        stream,
        encodeCbor({ urls: [...(await answer())], ...withPin(own) } satisfies Type.Static<typeof Answer>),
      )
      await stream.close({ signal })
    } catch (error) {
      stream.abort(error instanceof Error ? error : new Error(String(error)))
    }
  }
}

const withPin = (pin: string | undefined): { readonly pin?: string } => (pin === undefined ? {} : { pin })
