/** The side of a ring that dials: a connection to another rank, through the gate, and a stream of the epoch on it. */
import { setTimeout as pause } from 'node:timers/promises'
import type { Connection, Stream } from '@libp2p/interface'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { Backoff } from '../../shared/backoff.ts'
import { MeshError, problemOf } from '../../shared/errors.ts'
import { parseDeviceId } from '../../shared/ids.ts'
import type { RingEpoch, RingMember } from '../../shared/schema/ring.ts'
import type { RingHello } from '../../shared/wire/envelope.ts'
import { readTyped, sendTyped } from '../../shared/wire/typed-message.ts'
import { isRelayed } from '../../shared/peer-address.ts'
import type { Gate } from './gate.ts'
import { probeConnection } from './live-connection.ts'
import type { MeshNode } from './node.ts'
import { openStream } from './open-stream.ts'
import { peerIdOf } from './peer-id.ts'
import { type RankStream, rankStreamOf } from './rank-stream.ts'
import { helloOf, isFinal, ringForms, ringProtocol } from './ring-hello.ts'

export interface RankDialerOptions {
  readonly node: MeshNode
  readonly gate: Gate
  /** Milliseconds of one attempt to reach a rank. */
  readonly attemptMs?: number
}

/** Rank `rank` of an epoch dials that member of it. */
export interface RankToDial {
  readonly ring: RingEpoch
  readonly rank: number
  readonly member: RingMember
}

const pauses = { firstMs: 50, longestMs: 1000 }
/** A few round trips of the slowest link that a ring makes sense on. */
const defaultAttemptMs = 10_000

const unreachable = ({ name, rank }: RingMember, cause: unknown): MeshError =>
  new MeshError('peerUnreachable', { peer: name, rank, problem: problemOf(cause) }, cause)

/** The addresses of a member that can be read; they are what it said of itself. */
const addressesOf = (member: RingMember, suffix: string): Multiaddr[] =>
  member.addresses.flatMap((address) => {
    try {
      return [multiaddr(address.endsWith(suffix) ? address : address + suffix)]
    } catch {
      return []
    }
  })

/** Direct before relayed. */
const byPath = (a: Connection, b: Connection): number =>
  Number(isRelayed(a.remoteAddr)) - Number(isRelayed(b.remoteAddr))

export class RankDialer {
  readonly #options: RankDialerOptions
  /** Connections that look open and did not answer: the machine slept, or has another address now. */
  readonly #silent = new WeakSet<Connection>()

  constructor(options: RankDialerOptions) {
    this.#options = options
  }

  get #attemptMs(): number {
    return this.#options.attemptMs ?? defaultAttemptMs
  }

  /**
   * Tries until the other side has loaded the epoch too.
   * @throws MeshError `peerUnreachable` (once the signal comes) | `gateRefused` | `epochStale` (the other rank is ahead)
   */
  async dial(to: RankToDial, signal: AbortSignal): Promise<RankStream> {
    const { ring, member } = to
    const backoff = new Backoff(pauses)
    let last: unknown
    for (;;) {
      try {
        return await this.#dialOnce(to, signal)
      } catch (error) {
        if (isFinal(error, ring.epoch)) throw error
        if (!signal.aborted) last = error
      }
      if (signal.aborted)
        throw last instanceof MeshError && last.code === 'peerUnreachable'
          ? last
          : unreachable(member, last ?? signal.reason)
      await pause(backoff.fail(), undefined, { signal }).catch(() => undefined) // the next try says why it ends
    }
  }

  async #dialOnce(to: RankToDial, signal: AbortSignal): Promise<RankStream> {
    const attempt = AbortSignal.any([signal, AbortSignal.timeout(this.#attemptMs)])
    const connection = await this.#connect(to.member, attempt)
    try {
      await this.#options.gate.enter(connection, to.ring.poolId, attempt)
      return rankStreamOf(this.#options.node.libp2p, await this.#greet(connection, to, attempt), connection)
    } catch (error) {
      if (attempt.aborted) this.#silent.add(connection)
      throw error
    }
  }

  /**
   * Connects, whatever epoch the other rank is in, and hears an answer: a stream to it would open.
   * @throws MeshError `peerUnreachable` | `gateRefused` | the reason of the signal
   */
  async reach(to: RankToDial, signal: AbortSignal): Promise<void> {
    try {
      // the first may be a connection that only looks open
      if (!(await this.#answers(to, signal)) && !(await this.#answers(to, signal)))
        throw new Error('it does not answer')
    } catch (error) {
      signal.throwIfAborted()
      throw isFinal(error, to.ring.epoch) ? error : unreachable(to.member, error)
    }
  }

  async #answers({ ring, member }: RankToDial, signal: AbortSignal): Promise<boolean> {
    const ms = this.#attemptMs
    const attempt = AbortSignal.any([signal, AbortSignal.timeout(ms)])
    const connection = await this.#connect(member, attempt)
    await this.#options.gate.enter(connection, ring.poolId, attempt)
    if ((await probeConnection(connection, ms)) !== undefined) return true
    this.#silent.add(connection)
    return false
  }

  /** Opens the stream on which the other rank says that it means the same. */
  async #greet(connection: Connection, { ring, rank, member }: RankToDial, attempt: AbortSignal): Promise<Stream> {
    const stream = await openStream(connection, ringProtocol.id, attempt)
    try {
      sendTyped(stream, ringForms.hello, helloOf(ring, rank))
      const answer = await readTyped(stream, ringForms.answer, attempt)
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
