/**
 * The links of one ring epoch: a stream between every two ranks. The lower rank dials, both pass the gate, both say
 * which ring, epoch and rank they mean, and then frames flow.
 */
import { setTimeout as pause } from 'node:timers/promises'
import type { Connection, Stream } from '@libp2p/interface'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { Backoff } from '../../shared/backoff.ts'
import { MeshError, problemOf } from '../../shared/errors.ts'
import { householdOf } from '../../shared/household.ts'
import { parseDeviceId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import type { RingEpoch, RingMember } from '../../shared/schema/ring.ts'
import { RingAnswer, RingHello } from '../../shared/wire/envelope.ts'
import { limits } from '../../shared/limits.ts'
import { protocols } from '../../shared/wire/protocols.ts'
import { hostOf as ipOf, isRelayed } from './dialable.ts'
import type { KnownMembers } from './doorway.ts'
import type { Gate } from './gate.ts'
import type { Member } from './member.ts'
import { serveMembers } from './member-protocol.ts'
import { readTyped, sendTyped } from '../../shared/wire/typed-message.ts'
import { probeConnection } from './live-connection.ts'
import type { MeshNode } from './node.ts'
import { openStream } from './open-stream.ts'
import { deviceIdOfPeer, peerIdOf } from './peer-id.ts'
import { type PathStream, RingChannel } from './ring-channel.ts'

export interface RingLinksOptions {
  readonly node: MeshNode
  readonly gate: Gate
  readonly stepTimeoutMs: number
  /** How long the ranks of an epoch wait for each other. */
  readonly connectTimeoutMs: number
  /** Most that a rank keeps of frames that nobody asked for yet. Default: `limits.earlyFrameBytes`. */
  readonly earlyFrameBytes?: number
  /** Milliseconds of one attempt to reach a rank. */
  readonly attemptMs?: number
  readonly logger: Logger
}

/** An epoch that waits for the lower ranks to dial. */
interface Expectation {
  readonly ring: RingEpoch
  readonly rank: number
  accept(from: RingMember, link: PathStream): void
}

export interface OpenRequest {
  readonly ring: RingEpoch
  readonly rank: number
  readonly signal: AbortSignal
  /** Called with the ranks that still lack, whenever a link comes. */
  readonly onMissing?: (ranks: readonly number[]) => void
}

const pauses = { firstMs: 50, longestMs: 1000 }
/** A few round trips of the slowest link that a ring makes sense on. */
const attemptMs = 10_000

/** Milliseconds that a refusal may take to leave. */
const closeMs = 1000

const rings = {
  id: protocols.ring,
  streamsAtOnce: 4 * limits.worldSize,
  refusal: { level: 'debug', text: 'ring stream refused' },
} as const
/** The first message each way; then frames flow. */
const forms = {
  hello: { schema: RingHello, bytes: limits.gateBytes },
  answer: { schema: RingAnswer, bytes: limits.gateBytes },
} as const

const keyOf = (ringId: string, epoch: number): string => `${ringId}/${epoch}`

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

const helloOf = (ring: RingEpoch, rank: number): RingHello => ({
  poolId: ring.poolId,
  ringId: ring.ringId,
  epoch: ring.epoch,
  rank,
  worldSize: ring.members.length,
})

/** Refusals that another try cannot change. An epoch that the other side does not know yet is none: it may still be loading. */
const isFinal = (error: unknown, epoch: number): boolean => {
  if (!(error instanceof MeshError)) return false
  if (error.code === 'epochStale') return Number(error.fields.want) > epoch
  return [
    'gateRefused',
    'certificateInvalid',
    'certificateExpired',
    'memberRemoved',
    'notMember',
    'poolUnknown',
    'protocolVersion',
  ].includes(error.code)
}

/** The addresses of a member that can be read; they are what it said of itself. */
const addressesOf = (member: RingMember, suffix: string): Multiaddr[] =>
  member.addresses.flatMap((address) => {
    try {
      return [multiaddr(address.endsWith(suffix) ? address : address + suffix)]
    } catch {
      return []
    }
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

/** IP address or name in an address of libp2p. */
const hostOf = (address: Multiaddr): string | undefined =>
  /^\/(?:ip4|ip6|dns|dns4|dns6)\/([^/]+)/.exec(address.toString())?.[1]

/** Direct before relayed. */
const byPath = (a: Connection, b: Connection): number =>
  Number(isRelayed(a.remoteAddr)) - Number(isRelayed(b.remoteAddr))
/** Peer id of the relay in the address of a connection over one. */
const relayOf = (connection: Connection): string | undefined =>
  /\/p2p\/([^/]+)\/p2p-circuit/.exec(connection.remoteAddr.toString())?.[1]

export class RingLinks {
  readonly #options: RingLinksOptions
  readonly #expected = new Map<string, Expectation>()
  /** Newest epoch of each ring that this device was told of. */
  readonly #newest = new Map<string, number>()
  /** Connections that look open and did not answer: the machine slept, or has another address now. */
  readonly #silent = new WeakSet<Connection>()

  constructor(options: RingLinksOptions) {
    this.#options = options
    serveMembers(rings, options, (stream, member) => this.#serve(stream, member))
  }

  /**
   * Links to all other ranks of an epoch.
   * @throws MeshError `peerUnreachable` (names the device) | `gateRefused` | `epochStale` (another rank is ahead) | the reason of the signal
   */
  async open({ ring, rank, signal, onMissing }: OpenRequest): Promise<RingChannel> {
    const { connectTimeoutMs, stepTimeoutMs, earlyFrameBytes, logger } = this.#options
    const key = keyOf(ring.ringId, ring.epoch)
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(connectTimeoutMs)])
    const channel = new RingChannel({ ring, rank, stepTimeoutMs, earlyFrameBytes, logger })
    const arrivals = new Map<number, (link: PathStream) => void>()
    const missing = new Set(ring.members.map((member) => member.rank).filter((other) => other !== rank))
    const attach = (member: RingMember, link: PathStream): void => {
      channel.attach(member, link)
      if (missing.delete(member.rank)) onMissing?.([...missing])
    }
    const inbound = ring.members
      .filter((member) => member.rank < rank)
      .map((member) =>
        untilDialled(member, deadline, (resolve) => arrivals.set(member.rank, (link) => resolve(attach(member, link)))),
      )
    this.#newest.set(ring.ringId, Math.max(ring.epoch, this.#newest.get(ring.ringId) ?? 0))
    const unknow = this.#options.node.doorway.knowFrom(knownBy(ring))
    this.#expected.set(key, { ring, rank, accept: (from, link) => arrivals.get(from.rank)?.(link) })
    try {
      const outbound = ring.members
        .filter((member) => member.rank > rank)
        .map(async (member) => attach(member, await this.#dial(ring, rank, member, deadline)))
      await Promise.all([...inbound, ...outbound])
      return channel
    } catch (error) {
      await channel.close()
      throw signal.aborted ? signal.reason : error
    } finally {
      unknow()
      this.#expected.delete(key)
    }
  }

  /**
   * Connects to all other ranks, whatever epoch they are in, and hears an answer: links to them would open.
   * @throws MeshError `peerUnreachable` | `gateRefused` | the reason of the signal
   */
  async reach({ ring, rank, signal }: Omit<OpenRequest, 'onMissing'>): Promise<void> {
    const others = ring.members.filter((member) => member.rank !== rank)
    await Promise.all(
      others.map(async (member) => {
        try {
          // the first may be a connection that only looks open
          if (!(await this.#answers(ring, member, signal)) && !(await this.#answers(ring, member, signal)))
            throw new Error('it does not answer')
        } catch (error) {
          signal.throwIfAborted()
          if (isFinal(error, ring.epoch)) throw error
          throw new MeshError(
            'peerUnreachable',
            { peer: member.name, rank: member.rank, problem: problemOf(error) },
            error,
          )
        }
      }),
    )
  }

  async #answers(ring: RingEpoch, member: RingMember, signal: AbortSignal): Promise<boolean> {
    const ms = this.#options.attemptMs ?? attemptMs
    const attempt = AbortSignal.any([signal, AbortSignal.timeout(ms)])
    const connection = await this.#connect(member, attempt)
    await this.#options.gate.enter(connection, ring.poolId, attempt)
    if ((await probeConnection(connection, ms)) !== undefined) return true
    this.#silent.add(connection)
    return false
  }

  async #serve(stream: Stream, { connection }: Member): Promise<void> {
    try {
      const hello = await readTyped(stream, forms.hello, AbortSignal.timeout(limits.gateMs))
      const { expectation, member } = this.#identify(hello, connection)
      sendTyped(stream, forms.answer, helloOf(expectation.ring, expectation.rank))
      expectation.accept(member, this.#linkOf(stream, connection))
    } catch (error) {
      this.#options.logger.debug(
        { peer: connection.remotePeer.toString(), problem: problemOf(error) },
        'ring stream refused',
      )
      await this.#refuse(stream, MeshError.from(error))
    }
  }

  async #refuse(stream: Stream, error: MeshError): Promise<void> {
    try {
      sendTyped(stream, forms.answer, { error: error.toReport() })
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
    if (!this.#options.gate.isAdmitted(connection, hello.poolId)) throw stranger
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

  /** Tries until the other side has loaded the epoch too. */
  async #dial(ring: RingEpoch, rank: number, member: RingMember, signal: AbortSignal): Promise<PathStream> {
    const backoff = new Backoff(pauses)
    let last: unknown
    for (;;) {
      try {
        return await this.#dialOnce(ring, rank, member, signal)
      } catch (error) {
        if (isFinal(error, ring.epoch)) throw error
        if (!signal.aborted) last = error
      }
      if (signal.aborted)
        throw last instanceof MeshError && last.code === 'peerUnreachable'
          ? last
          : new MeshError(
              'peerUnreachable',
              { peer: member.name, rank: member.rank, problem: problemOf(last ?? signal.reason) },
              last,
            )
      await pause(backoff.fail(), undefined, { signal }).catch(() => undefined) // the next try says why it ends
    }
  }

  async #dialOnce(ring: RingEpoch, rank: number, member: RingMember, signal: AbortSignal): Promise<PathStream> {
    const attempt = AbortSignal.any([signal, AbortSignal.timeout(this.#options.attemptMs ?? attemptMs)])
    const connection = await this.#connect(member, attempt)
    try {
      await this.#options.gate.enter(connection, ring.poolId, attempt)
      return this.#linkOf(await this.#openLink(connection, { ring, rank, member }, attempt), connection)
    } catch (error) {
      if (attempt.aborted) this.#silent.add(connection)
      throw error
    }
  }

  #linkOf(stream: Stream, connection: Connection): PathStream {
    if (!isRelayed(connection.remoteAddr)) return { stream, path: 'direct', host: hostOf(connection.remoteAddr) }
    const relay = relayOf(connection)
    const { libp2p } = this.#options.node
    return {
      stream,
      path: 'relayed',
      relayThere: () =>
        libp2p.getConnections().some(({ status, remotePeer }) => status === 'open' && remotePeer.toString() === relay),
    }
  }

  async #openLink(
    connection: Connection,
    { ring, rank, member }: { readonly ring: RingEpoch; readonly rank: number; readonly member: RingMember },
    attempt: AbortSignal,
  ): Promise<Stream> {
    const stream = await openStream(connection, protocols.ring, attempt)
    try {
      sendTyped(stream, forms.hello, helloOf(ring, rank))
      const answer = await readTyped(stream, forms.answer, attempt)
      if ('error' in answer) throw MeshError.fromReport(answer.error)
      const hello: RingHello = answer
      if (hello.ringId !== ring.ringId || hello.epoch !== ring.epoch || hello.rank !== member.rank)
        throw new MeshError('epochStale', { got: hello.epoch, want: ring.epoch })
      return stream
    } catch (error) {
      stream.abort(error as Error)
      throw error
    }
  }

  async #connect(member: RingMember, signal: AbortSignal): Promise<Connection> {
    const { libp2p } = this.#options.node
    const peer = peerIdOf(parseDeviceId(member.deviceId))
    const all = libp2p.getConnections(peer).filter(({ status }) => status === 'open')
    const [open] = all.filter((connection) => !this.#silent.has(connection)).toSorted(byPath)
    if (open) return open
    const addresses = addressesOf(member, `/p2p/${peer.toString()}`)
    if (addresses.length === 0)
      throw new MeshError('peerUnreachable', { peer: member.name, problem: 'it names no address' })
    return libp2p.dial(addresses, { signal, force: all.length > 0 })
  }
}
