/**
 * Members tell each other which control plane serves their pool (a statement of its admins), and where they reach it:
 * so one that moved is found again without a server. The statement is checked by whoever holds the pool's root key; the
 * addresses are worth no more than the key that is proven there.
 */
import type { Connection } from '@libp2p/interface'
import { type Static, Type } from 'typebox'
import { problemOf } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { Hex64 } from '../../shared/schema/common.ts'
import { PinText } from '../../shared/schema/pool.ts'
import { protocols } from '../../shared/wire/protocols.ts'
import type { Member } from './member.ts'
import { answerMembers, askMember, type MemberProtocol, type Served } from './member-protocol.ts'

/** Both ends show the pin that they hold. */
export const Question = Type.Object({ poolId: Hex64, pin: Type.Optional(PinText) })
export const Answer = Type.Object({
  /** Best first. */
  urls: Type.Array(Type.String({ minLength: 1, maxLength: 300, pattern: '^https?://[^\\s]+$' }), {
    maxItems: limits.announcedControlPlanes,
  }),
  pin: Type.Optional(PinText),
})

const controlPlanes: MemberProtocol<typeof Question, typeof Answer> = {
  id: protocols.controlPlane,
  question: { schema: Question, bytes: limits.gateBytes },
  answer: { schema: Answer, bytes: limits.gateBytes },
  timeoutMs: 3000,
  // a member asks for each pool that both are in
  streamsAtOnce: 8,
  refusal: { level: 'debug', text: 'a question about the control plane is refused' },
}

export interface ControlPlaneExchangeOptions extends Served {
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
    answerMembers(controlPlanes, options, (question, member) => this.#answer(question, member))
  }

  /**
   * Shows the member at the other end the pin of this device, and takes its own.
   * @returns where it reaches its control plane; nothing when it does not say
   */
  async ask(connection: Connection, poolId: string): Promise<readonly string[]> {
    const { gate, logger, pinOf } = this.#options
    const member = gate.memberOn(connection)
    if (member === undefined) return []
    try {
      const { urls, pin } = await askMember(controlPlanes, member, { poolId, ...withPin(pinOf(poolId)) })
      this.#take(connection, poolId, pin)
      return urls
    } catch (error) {
      logger.debug(
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

  async #answer({ poolId, pin }: Static<typeof Question>, { connection }: Member): Promise<Static<typeof Answer>> {
    const { answer, pinOf } = this.#options
    // ours as it was: two that differ are compared on both sides alike
    const own = pinOf(poolId)
    this.#take(connection, poolId, pin)
    return { urls: [...(await answer())], ...withPin(own) }
  }
}

const withPin = (pin: string | undefined): { readonly pin?: string } => (pin === undefined ? {} : { pin })
