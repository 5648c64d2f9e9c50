/**
 * A member asks the agent of an admin, over their own connection, to renew its certificate: so memberships go on where
 * no control plane is reachable.
 */
import type { Connection } from '@libp2p/interface'
import { MeshError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { putLast } from '../../shared/put-last.ts'
import { RenewalAnswer, RenewalRequest } from '../../shared/wire/envelope.ts'
import { protocols } from '../../shared/wire/protocols.ts'
import { formatDuration } from '../../shared/words.ts'
import type { Member } from './member.ts'
import { answerMembers, askMember, type MemberProtocol, type Served } from './member-protocol.ts'

const renewals: MemberProtocol<typeof RenewalRequest, typeof RenewalAnswer> = {
  id: protocols.renewal,
  question: { schema: RenewalRequest, bytes: limits.gateBytes },
  answer: { schema: RenewalAnswer, bytes: limits.gateBytes },
  timeoutMs: limits.gateMs,
  streamsAtOnce: 2,
  refusal: { level: 'warn', text: 'request for renewal refused' },
}

export interface RenewalExchangeOptions extends Served {
  readonly now: () => number
  /**
   * Signs in place of the certificate that is shown, if it is one of the device that asks.
   * @throws MeshError why not
   */
  renew(request: RenewalRequest, deviceId: string): string
}

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
    answerMembers(renewals, options, (request, member) => this.#answer(request, member))
  }

  /** @returns the new certificate, not checked yet; @throws MeshError what the admin answered | as `askMember` does */
  async ask(connection: Connection, request: RenewalRequest): Promise<string> {
    const member = this.#options.gate.memberOn(connection)
    if (member === undefined)
      throw new MeshError('notMember', { deviceId: connection.remotePeer.toString(), poolId: request.poolId })
    const answer = await askMember(renewals, member, request)
    if ('error' in answer) throw MeshError.fromReport(answer.error)
    return answer.certificate
  }

  #answer(request: RenewalRequest, { deviceId }: Member): RenewalAnswer {
    try {
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
