/**
 * Passes revocation lists from member to member: to whoever holds an older one, when a connection passes the gate and
 * whenever a newer list comes in. So a removal arrives where the control plane does not.
 */
import type { Connection } from '@libp2p/interface'
import { problemOf } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { RevocationMessage } from '../../shared/wire/envelope.ts'
import { protocols } from '../../shared/wire/protocols.ts'
import { answerMembers, askMember, type MemberProtocol, type Served } from './member-protocol.ts'

/** Whoever has a list tells it; nobody answers. */
const revocations: MemberProtocol<typeof RevocationMessage> = {
  id: protocols.revocations,
  question: { schema: RevocationMessage, bytes: limits.revocationBytes + limits.gateBytes },
  answer: undefined,
  timeoutMs: limits.gateMs,
  streamsAtOnce: 4,
  refusal: { level: 'warn', text: 'revocation list refused' },
}

export interface RevocationSpreadOptions extends Served {
  /** Text of the list that is held. */
  textOf(poolId: string): string | undefined
  /** A member showed a list. @throws MeshError `revocationsInvalid` */
  onList(poolId: string, text: string): void
}

export class RevocationSpread {
  readonly #options: RevocationSpreadOptions

  constructor(options: RevocationSpreadOptions) {
    this.#options = options
    answerMembers(revocations, options, ({ poolId, list }) => options.onList(poolId, list))
  }

  /** Sends the list of that pool to every member that is connected. */
  spread(poolId: string): void {
    for (const connection of this.#options.gate.connectionsOf(poolId)) this.offer(connection, poolId)
  }

  /** Sends the list to one member. Failing is no harm: the next connection tries again. */
  offer(connection: Connection, poolId: string): void {
    const { gate, logger, textOf } = this.#options
    const [member, list] = [gate.memberOn(connection), textOf(poolId)]
    if (member === undefined || list === undefined) return
    askMember(revocations, member, { poolId, list }).catch((error: unknown) =>
      logger.debug(
        { peer: connection.remotePeer.toString(), problem: problemOf(error) },
        'revocation list not passed on',
      ),
    )
  }
}
