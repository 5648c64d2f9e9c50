/**
 * The links of one ring epoch: a stream between every two ranks. The lower rank dials, both pass the gate, both say
 * which ring, epoch and rank they mean, and then frames flow.
 */
import type { Connection, Stream } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { MeshError, problemOf } from '../../shared/errors.ts'
import { type DeviceId, parseDeviceId } from '../../shared/ids.ts'
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

export interface RingLinks {
  /**
   * Links to all other ranks of an epoch.
   * @throws MeshError `peerUnreachable` (names the device) | `gateRefused` | the reason of the signal
   */
  open(request: { readonly ring: RingEpoch; readonly rank: number; readonly signal: AbortSignal }): Promise<Channel>
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

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort)
      resolve()
    }, ms)
    const onAbort = (): void => {
      clearTimeout(timer)
      reject(signal.reason as Error)
    }
    signal.addEventListener('abort', onAbort, { once: true })
  })

/** Refusals that another try cannot change. */
const isFinal = (error: unknown): boolean => error instanceof MeshError && ['gateRefused', 'certificateInvalid', 'certificateExpired', 'notMember', 'poolUnknown'].includes(error.code)

export const createRingLinks = ({ node, gate, stepTimeoutMs, connectTimeoutMs, logger }: RingLinksOptions): RingLinks => {
  const expected = new Map<string, Expectation>()

  const helloOf = (ring: RingEpoch, rank: number): RingHello => ({ poolId: ring.poolId, ringId: ring.ringId, epoch: ring.epoch, rank, worldSize: ring.members.length })

  /** The member that an inbound stream comes from. @throws MeshError `epochStale` | `frameInvalid` | `notMember` */
  const identify = (hello: RingHello, connection: Connection): { expectation: Expectation; member: RingMember } => {
    if (!gate.isAdmitted(connection, hello.poolId)) throw new MeshError('notMember', { deviceId: connection.remotePeer.toString(), poolId: hello.poolId })
    const expectation = expected.get(keyOf(hello.ringId, hello.epoch))
    if (!expectation || expectation.ring.poolId !== hello.poolId) throw new MeshError('epochStale', { got: hello.epoch, want: 'one that is known here' })
    const member = expectation.ring.members.find(({ rank }) => rank === hello.rank)
    if (!member || hello.worldSize !== expectation.ring.members.length || hello.rank >= expectation.rank) throw new MeshError('frameInvalid', { problem: `rank ${hello.rank} of ${hello.worldSize} has nothing to dial here` })
    if (deviceIdOfPeer(connection.remotePeer) !== member.deviceId) throw new MeshError('notMember', { deviceId: connection.remotePeer.toString(), poolId: hello.poolId })
    return { expectation, member }
  }

  const serve = async (stream: Stream, connection: Connection): Promise<void> => {
    try {
      const hello = decodeCbor(RingHello, await readMessage(stream, limits.gateBytes, AbortSignal.timeout(limits.gateMs)))
      const { expectation, member } = identify(hello, connection)
      sendMessage(stream, encodeCbor(helloOf(expectation.ring, expectation.rank)))
      expectation.accept(member, stream)
    } catch (error) {
      logger.debug({ peer: connection.remotePeer.toString(), problem: problemOf(error) }, 'ring stream refused')
      stream.abort(MeshError.from(error))
    }
  }
  void node.libp2p.handle(protocols.ring, (stream, connection) => serve(stream, connection), { runOnLimitedConnection: true, maxInboundStreams: 4 * limits.worldSize })

  const connectTo = async (member: RingMember, signal: AbortSignal): Promise<Connection> => {
    const peer = peerIdOf(parseDeviceId(member.deviceId) as DeviceId)
    const [open] = node.libp2p.getConnections(peer).filter(({ status }) => status === 'open')
    if (open) return open
    const addresses = member.addresses.map((address) => (address.includes(`/p2p/${peer.toString()}`) ? multiaddr(address) : multiaddr(`${address}/p2p/${peer.toString()}`)))
    return node.libp2p.dial(addresses, { signal })
  }

  const dialOnce = async (ring: RingEpoch, rank: number, member: RingMember, signal: AbortSignal): Promise<Stream> => {
    const attempt = AbortSignal.any([signal, AbortSignal.timeout(dialMs)])
    const connection = await connectTo(member, attempt)
    await gate.enter(connection, ring.poolId, attempt)
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

  /** Tries until the other side has loaded the epoch too. */
  const dial = async (ring: RingEpoch, rank: number, member: RingMember, signal: AbortSignal): Promise<Stream> => {
    let last: unknown
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(longestPauseMs, pauseMs * 2)) {
      try {
        return await dialOnce(ring, rank, member, signal)
      } catch (error) {
        if (isFinal(error)) throw error
        if (!signal.aborted) last = error
      }
      if (signal.aborted) throw new MeshError('peerUnreachable', { peer: member.name, problem: problemOf(last ?? signal.reason) }, last)
      await pause(pauseMs, signal).catch(() => {})
    }
  }

  const open: RingLinks['open'] = async ({ ring, rank, signal }) => {
    const key = keyOf(ring.ringId, ring.epoch)
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(connectTimeoutMs)])
    const channel = new RingChannel({ ring, rank, stepTimeoutMs, logger })
    const accepted = new Map<number, { resolve(stream: Stream): void }>()
    const inbound = ring.members.filter((member) => member.rank < rank).map(
      (member) =>
        new Promise<void>((resolve, reject) => {
          accepted.set(member.rank, { resolve: (stream) => resolve(channel.attach(member, stream)) })
          const giveUp = (): void => reject(signal.aborted ? (signal.reason as Error) : new MeshError('peerUnreachable', { peer: member.name, problem: 'it did not dial in time' }))
          if (deadline.aborted) giveUp()
          else deadline.addEventListener('abort', giveUp, { once: true })
        }),
    )
    expected.set(key, { ring, rank, accept: (from, stream) => accepted.get(from.rank)?.resolve(stream) })
    try {
      const outbound = ring.members.filter((member) => member.rank > rank).map(async (member) => channel.attach(member, await dial(ring, rank, member, deadline)))
      await Promise.all([...inbound, ...outbound])
      return channel
    } catch (error) {
      await channel.close()
      throw signal.aborted ? signal.reason : error
    } finally {
      expected.delete(key)
    }
  }
  return { open }
}
