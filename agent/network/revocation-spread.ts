/**
 * Passes revocation lists from member to member: to whoever holds an older one, when a connection passes the gate and
 * whenever a newer list comes in. So a removal arrives where the control plane does not.
 */
import type { Connection, Stream } from '@libp2p/interface'
import { MeshError, problemOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { decodeCbor, encodeCbor, RevocationMessage } from '../../shared/wire/envelope.ts'
import { limits } from '../../shared/limits.ts'
import { protocols } from '../../shared/wire/protocols.ts'
import type { Gate } from './gate.ts'
import { readMessage, sendMessage } from '../../shared/wire/message-stream.ts'
import type { MeshNode } from './node.ts'
import { openStream } from './open-stream.ts'

export interface RevocationSpreadOptions {
  readonly node: MeshNode
  readonly gate: Gate
  readonly logger: Logger
  /** Text of the list that is held. */
  textOf(poolId: string): string | undefined
  /** A member showed a list. @throws MeshError `revocationsInvalid` */
  onList(poolId: string, text: string): void
}

const streamsAtOnce = 4

export class RevocationSpread {
  readonly #options: RevocationSpreadOptions

  constructor(options: RevocationSpreadOptions) {
    this.#options = options
    void options.node.libp2p.handle(protocols.revocations, (stream, connection) => this.#serve(stream, connection), {
      runOnLimitedConnection: true,
      maxInboundStreams: streamsAtOnce,
    })
  }

  /** Sends the list of that pool to every member that is connected. */
  spread(poolId: string): void {
    for (const connection of this.#options.gate.connectionsOf(poolId)) this.offer(connection, poolId)
  }

  /** Sends the list to one member. Failing is no harm: the next connection tries again. */
  offer(connection: Connection, poolId: string): void {
    this.#send(connection, poolId).catch((error: unknown) =>
      this.#options.logger.debug(
        { peer: connection.remotePeer.toString(), problem: problemOf(error) },
        'revocation list not passed on',
      ),
    )
  }

  async #send(connection: Connection, poolId: string): Promise<void> {
    const list = this.#options.textOf(poolId)
    if (list === undefined) return
    const stream = await openStream(connection, protocols.revocations, AbortSignal.timeout(limits.gateMs))
    sendMessage(stream, encodeCbor({ poolId, list } satisfies RevocationMessage))
    await stream.close({ signal: AbortSignal.timeout(limits.gateMs) })
  }

  async #serve(stream: Stream, connection: Connection): Promise<void> {
    const { gate, onList, logger } = this.#options
    try {
      // before a byte is read
      if (!gate.isMember(connection))
        throw new MeshError('notMember', { deviceId: connection.remotePeer.toString(), poolId: 'any' })
      const { poolId, list } = decodeCbor(
        RevocationMessage,
        await readMessage(stream, limits.revocationBytes + limits.gateBytes, AbortSignal.timeout(limits.gateMs)),
      )
      if (!gate.isAdmitted(connection, poolId))
        throw new MeshError('notMember', { deviceId: connection.remotePeer.toString(), poolId })
      onList(poolId, list)
      await stream.close({ signal: AbortSignal.timeout(limits.gateMs) })
    } catch (error) {
      logger.warn({ peer: connection.remotePeer.toString(), problem: problemOf(error) }, 'revocation list refused')
      stream.abort(error as Error)
    }
  }
}
