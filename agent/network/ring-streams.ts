/**
 * The streams of one ring epoch, one between every two ranks. The lower rank dials, both pass the gate, both say which
 * ring, epoch and rank they mean, and then frames flow.
 */
import { MeshError } from '../../shared/errors.ts'
import { householdOf } from '../../shared/household.ts'
import { parseDeviceId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import type { RingEpoch, RingMember } from '../../shared/schema/ring.ts'
import { ipOf, isRelayed } from '../../shared/peer-address.ts'
import type { KnownMembers } from './doorway.ts'
import { peerIdOf } from './peer-id.ts'
import { RankDialer, type RankDialerOptions } from './rank-dialer.ts'
import { type Expectation, RankListener } from './rank-listener.ts'
import type { RankStream } from './rank-stream.ts'
import { RingChannel } from './ring-channel.ts'

export interface RingStreamsOptions extends RankDialerOptions {
  readonly stepTimeoutMs: number
  /** How long the ranks of an epoch wait for each other. */
  readonly connectTimeoutMs: number
  /** Most that a rank keeps of frames that nobody asked for yet. Default: `limits.earlyFrameBytes`. */
  readonly earlyFrameBytes?: number
  readonly logger: Logger
}

export interface OpenRequest {
  readonly ring: RingEpoch
  readonly rank: number
  readonly signal: AbortSignal
  /** Called with the ranks that still lack, whenever a stream comes. */
  readonly onMissing?: (ranks: readonly number[]) => void
}

/** Settles when a lower rank has dialled, or the deadline passed. */
const untilDialled = (
  member: RingMember,
  deadline: AbortSignal,
  register: (resolve: (done: void) => void) => void,
): Promise<void> =>
  new Promise((resolve, reject) => {
    register(resolve)
    const giveUp = (): void =>
      reject(
        new MeshError('peerUnreachable', { peer: member.name, rank: member.rank, problem: 'it did not dial in time' }),
      )
    if (deadline.aborted) giveUp()
    else deadline.addEventListener('abort', giveUp, { once: true })
  })

/** The ranks of an epoch, where they say that they are: their places at the door are not for strangers. */
const knownBy = ({ members }: RingEpoch): KnownMembers => {
  const peers = new Set(members.map(({ deviceId }) => peerIdOf(parseDeviceId(deviceId)).toString()))
  const direct = members.flatMap(({ addresses }) => addresses.filter((address) => !isRelayed(address)))
  const households = new Set(
    direct
      .map(ipOf)
      .filter((host) => host !== '')
      .map(householdOf),
  )
  return { isPeer: (peerId) => peers.has(peerId), isHousehold: (household) => households.has(household) }
}

export class RingStreams {
  readonly #options: RingStreamsOptions
  readonly #listener: RankListener
  readonly #dialer: RankDialer

  constructor(options: RingStreamsOptions) {
    this.#options = options
    this.#listener = new RankListener(options)
    this.#dialer = new RankDialer(options)
  }

  /**
   * Streams to all other ranks of an epoch.
   * @throws MeshError `peerUnreachable` (names the device) | `gateRefused` | `epochStale` (another rank is ahead) | the reason of the signal
   */
  async open({ ring, rank, signal, onMissing }: OpenRequest): Promise<RingChannel> {
    const { connectTimeoutMs, stepTimeoutMs, earlyFrameBytes, logger } = this.#options
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(connectTimeoutMs)])
    const channel = new RingChannel({ ring, rank, stepTimeoutMs, earlyFrameBytes, logger })
    const arrivals = new Map<number, (stream: RankStream) => void>()
    const missing = new Set(ring.members.map((member) => member.rank).filter((other) => other !== rank))
    const attach = (member: RingMember, stream: RankStream): void => {
      channel.attach(member, stream)
      if (missing.delete(member.rank)) onMissing?.([...missing])
    }
    const inbound = ring.members
      .filter((member) => member.rank < rank)
      .map((member) =>
        untilDialled(member, deadline, (resolve) =>
          arrivals.set(member.rank, (stream) => resolve(attach(member, stream))),
        ),
      )
    const unknow = this.#options.node.doorway.knowFrom(knownBy(ring))
    const accept: Expectation['accept'] = (from, stream) => arrivals.get(from.rank)?.(stream)
    const unexpect = this.#listener.expect({ ring, rank, accept })
    try {
      const outbound = ring.members
        .filter((member) => member.rank > rank)
        .map(async (member) => attach(member, await this.#dialer.dial({ ring, rank, member }, deadline)))
      await Promise.all([...inbound, ...outbound])
      return channel
    } catch (error) {
      await channel.close()
      throw signal.aborted ? signal.reason : error
    } finally {
      unknow()
      unexpect()
    }
  }

  /**
   * Connects to all other ranks, whatever epoch they are in, and hears an answer: streams to them would open.
   * @throws MeshError `peerUnreachable` | `gateRefused` | the reason of the signal
   */
  async reach({ ring, rank, signal }: Omit<OpenRequest, 'onMissing'>): Promise<void> {
    const others = ring.members.filter((member) => member.rank !== rank)
    await Promise.all(others.map((member) => this.#dialer.reach({ ring, rank, member }, signal)))
  }
}
