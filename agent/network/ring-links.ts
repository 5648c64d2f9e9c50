/**
 * The links of one ring epoch: a stream between every two ranks. The lower rank dials, both pass the gate, both say
 * which ring, epoch and rank they mean, and then frames flow.
 */
import type { Connection, Stream } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { MeshError, problemOf } from '../../shared/errors.ts'
import { parseDeviceId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import type { RingEpoch, RingMember } from '../../shared/schema/ring.ts'
import { decodeCbor, encodeCbor, RingHello } from '../../shared/wire/envelope.ts'
import { limits } from '../../shared/wire/limits.ts'
import { protocols } from '../../shared/wire/protocols.ts'
import type { Channel } from '../collective/channel.ts'
import type { Gate } from './gate.ts'
import { readMessage, sendMessage } from './message-reader.ts'
import type { MeshNode } from './node.ts'
import { deviceIdOfPeer, peerIdOf } from './peer-id.ts'
import { RingChannel } from './ring-channel.ts'

export interface RingLinksOptions {
  readonly node: MeshNode
  readonly gate: Gate
  readonly stepTimeoutMs: number
  /** How long the ranks of an epoch wait for each other. */
  readonly connectTimeoutMs: number
  readonly logger: Logger
}

/** An epoch that waits for the lower ranks to dial. */
interface Expectation {
  readonly ring: RingEpoch
  readonly rank: number
  accept(from: RingMember, stream: Stream): void
}

const firstPauseMs = 50
const longestPauseMs = 1000
const dialMs = 10_000

const keyOf = (ringId: string, epoch: number): string => `${ringId}/${epoch}`

/** Waits, or less long when the signal comes. */
const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal.addEventListener('abort', end, { once: true })
  })

/** Settles when a lower rank has dialled, or the deadline passed. */
const untilDialled = (member: RingMember, deadline: AbortSignal, register: (resolve: (done: void) => void) => void): Promise<void> =>
  new Promise((resolve, reject) => {
    register(resolve)
    const giveUp = (): void => reject(new MeshError('peerUnreachable', { peer: member.name, problem: 'it did not dial in time' }))
    if (deadline.aborted) giveUp()
    else deadline.addEventListener('abort', giveUp, { once: true })
  })

const helloOf = (ring: RingEpoch, rank: number): RingHello => ({ poolId: ring.poolId, ringId: ring.ringId, epoch: ring.epoch, rank, worldSize: ring.members.length })

/** Refusals that another try cannot change. */
const isFinal = (error: unknown): boolean => error instanceof MeshError && ['gateRefused', 'certificateInvalid', 'certificateExpired', 'notMember', 'poolUnknown'].includes(error.code)

export class RingLinks {
  readonly #options: RingLinksOptions
  readonly #expected = new Map<string, Expectation>()

  constructor(options: RingLinksOptions) {
    this.#options = options
    void options.node.libp2p.handle(protocols.ring, (stream, connection) => this.#serve(stream, connection), { runOnLimitedConnection: true, maxInboundStreams: 4 * limits.worldSize })
  }

  /**
   * Links to all other ranks of an epoch.
   * @throws MeshError `peerUnreachable` (names the device) | `gateRefused` | the reason of the signal
   */
  async open({ ring, rank, signal }: { readonly ring: RingEpoch; readonly rank: number; readonly signal: AbortSignal }): Promise<Channel> {
    const { connectTimeoutMs, stepTimeoutMs, logger } = this.#options
    const key = keyOf(ring.ringId, ring.epoch)
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(connectTimeoutMs)])
    const channel = new RingChannel({ ring, rank, stepTimeoutMs, logger })
    const arrivals = new Map<number, (stream: Stream) => void>()
    const inbound = ring.members.filter((member) => member.rank < rank).map((member) => untilDialled(member, deadline, (resolve) => arrivals.set(member.rank, (stream) => resolve(channel.attach(member, stream)))))
    this.#expected.set(key, { ring, rank, accept: (from, stream) => arrivals.get(from.rank)?.(stream) })
    try {
      const outbound = ring.members.filter((member) => member.rank > rank).map(async (member) => channel.attach(member, await this.#dial(ring, rank, member, deadline)))
      await Promise.all([...inbound, ...outbound])
      return channel
    } catch (error) {
      await channel.close()
      throw signal.aborted ? signal.reason : error
    } finally {
      this.#expected.delete(key)
    }
  }

  async #serve(stream: Stream, connection: Connection): Promise<void> {
    try {
      const hello = decodeCbor(RingHello, await readMessage(stream, limits.gateBytes, AbortSignal.timeout(limits.gateMs)))
      const { expectation, member } = this.#identify(hello, connection)
      sendMessage(stream, encodeCbor(helloOf(expectation.ring, expectation.rank)))
      expectation.accept(member, stream)
    } catch (error) {
      this.#options.logger.debug({ peer: connection.remotePeer.toString(), problem: problemOf(error) }, 'ring stream refused')
      stream.abort(MeshError.from(error))
    }
  }

  /** The member that an inbound stream comes from. @throws MeshError `epochStale` | `frameInvalid` | `notMember` */
  #identify(hello: RingHello, connection: Connection): { readonly expectation: Expectation; readonly member: RingMember } {
    const stranger = new MeshError('notMember', { deviceId: connection.remotePeer.toString(), poolId: hello.poolId })
    if (!this.#options.gate.isAdmitted(connection, hello.poolId)) throw stranger
    const expectation = this.#expected.get(keyOf(hello.ringId, hello.epoch))
    if (!expectation || expectation.ring.poolId !== hello.poolId) throw new MeshError('epochStale', { got: hello.epoch, want: 'one that is known here' })
    const { ring, rank } = expectation
    const member = ring.members.find((one) => one.rank === hello.rank)
    if (!member || hello.worldSize !== ring.members.length || hello.rank >= rank) throw new MeshError('frameInvalid', { problem: `rank ${hello.rank} of ${hello.worldSize} has nothing to dial here` })
    if (deviceIdOfPeer(connection.remotePeer) !== member.deviceId) throw stranger
    return { expectation, member }
  }

  /** Tries until the other side has loaded the epoch too. */
  async #dial(ring: RingEpoch, rank: number, member: RingMember, signal: AbortSignal): Promise<Stream> {
    let last: unknown
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(longestPauseMs, pauseMs * 2)) {
      try {
        return await this.#dialOnce(ring, rank, member, signal)
      } catch (error) {
        if (isFinal(error)) throw error
        if (!signal.aborted) last = error
      }
      if (signal.aborted) throw new MeshError('peerUnreachable', { peer: member.name, problem: problemOf(last ?? signal.reason) }, last)
      await pause(pauseMs, signal)
    }
  }

  async #dialOnce(ring: RingEpoch, rank: number, member: RingMember, signal: AbortSignal): Promise<Stream> {
    const attempt = AbortSignal.any([signal, AbortSignal.timeout(dialMs)])
    const connection = await this.#connect(member, attempt)
    await this.#options.gate.enter(connection, ring.poolId, attempt)
    const stream = await connection.newStream(protocols.ring, { signal: attempt, runOnLimitedConnection: true })
    try {
      sendMessage(stream, encodeCbor(helloOf(ring, rank)))
      const hello = decodeCbor(RingHello, await readMessage(stream, limits.gateBytes, attempt))
      if (hello.ringId !== ring.ringId || hello.epoch !== ring.epoch || hello.rank !== member.rank) throw new MeshError('epochStale', { got: hello.epoch, want: ring.epoch })
      return stream
    } catch (error) {
      stream.abort(error as Error)
      throw error
    }
  }

  async #connect(member: RingMember, signal: AbortSignal): Promise<Connection> {
    const { libp2p } = this.#options.node
    const peer = peerIdOf(parseDeviceId(member.deviceId))
    const open = libp2p.getConnections(peer).find(({ status }) => status === 'open')
    if (open) return open
    const suffix = `/p2p/${peer.toString()}`
    return libp2p.dial(member.addresses.map((address) => multiaddr(address.endsWith(suffix) ? address : address + suffix)), { signal })
  }
}
