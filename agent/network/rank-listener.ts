/** The side of a ring that is dialled: epochs that wait for lower ranks, and who of them comes. */
import type { Connection, Stream } from '@libp2p/interface'
import { MeshError, problemOf } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { RingEpoch, RingMember } from '../../shared/schema/ring.ts'
import type { RingHello } from '../../shared/wire/envelope.ts'
import { readTyped, sendTyped } from '../../shared/wire/typed-message.ts'
import type { Member } from './member.ts'
import { type Served, serveMembers } from './member-protocol.ts'
import { deviceIdOfPeer } from './peer-id.ts'
import { type RankStream, rankStreamOf } from './rank-stream.ts'
import { helloOf, ringForms, ringProtocol } from './ring-hello.ts'

/** An epoch that waits for the lower ranks to dial. */
export interface Expectation {
  readonly ring: RingEpoch
  readonly rank: number
  accept(from: RingMember, stream: RankStream): void
}

/** Milliseconds that a refusal may take to leave. */
const closeMs = 1000

const keyOf = (ringId: string, epoch: number): string => `${ringId}/${epoch}`

export class RankListener {
  readonly #served: Served
  readonly #expected = new Map<string, Expectation>()
  /** Newest epoch of each ring that this device was told of. */
  readonly #newest = new Map<string, number>()

  constructor(served: Served) {
    this.#served = served
    serveMembers(ringProtocol, served, (stream, member) => this.#serve(stream, member))
  }

  /** From now on the lower ranks of that epoch are let in. @returns what ends that */
  expect(expectation: Expectation): () => void {
    const { ringId, epoch } = expectation.ring
    const key = keyOf(ringId, epoch)
    this.#newest.set(ringId, Math.max(epoch, this.#newest.get(ringId) ?? 0))
    this.#expected.set(key, expectation)
    return () => void this.#expected.delete(key)
  }

  async #serve(stream: Stream, { connection }: Member): Promise<void> {
    try {
      const hello = await readTyped(stream, ringForms.hello, AbortSignal.timeout(limits.gateMs))
      const { expectation, member } = this.#identify(hello, connection)
      sendTyped(stream, ringForms.answer, helloOf(expectation.ring, expectation.rank))
      expectation.accept(member, rankStreamOf(this.#served.node.libp2p, stream, connection))
    } catch (error) {
      this.#served.logger.debug(
        { peer: connection.remotePeer.toString(), problem: problemOf(error) },
        'ring stream refused',
      )
      await this.#refuse(stream, MeshError.from(error))
    }
  }

  async #refuse(stream: Stream, error: MeshError): Promise<void> {
    try {
      sendTyped(stream, ringForms.answer, { error: error.toReport() })
      await stream.close({ signal: AbortSignal.timeout(closeMs) })
    } catch {
      stream.abort(error)
    }
  }

  /** The member that an inbound stream comes from. @throws MeshError `epochStale` | `frameInvalid` | `notMember` */
  #identify(
    hello: RingHello,
    connection: Connection,
  ): { readonly expectation: Expectation; readonly member: RingMember } {
    const stranger = new MeshError('notMember', { deviceId: connection.remotePeer.toString(), poolId: hello.poolId })
    if (!this.#served.gate.isAdmitted(connection, hello.poolId)) throw stranger
    const expectation = this.#expected.get(keyOf(hello.ringId, hello.epoch))
    if (!expectation || expectation.ring.poolId !== hello.poolId)
      throw new MeshError('epochStale', { got: hello.epoch, want: this.#newest.get(hello.ringId) ?? 0 })
    const { ring, rank } = expectation
    const member = ring.members.find((one) => one.rank === hello.rank)
    if (!member || hello.worldSize !== ring.members.length || hello.rank >= rank)
      throw new MeshError('frameInvalid', {
        problem: `rank ${hello.rank} of ${hello.worldSize} has nothing to dial here`,
      })
    if (deviceIdOfPeer(connection.remotePeer) !== member.deviceId) throw stranger
    return { expectation, member }
  }
}
