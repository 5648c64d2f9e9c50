/** `Channel` over the streams of one ring epoch. */
import { MeshError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { LinkPath, RingEpoch, RingMember } from '../../shared/schema/ring.ts'
import { decodeCbor, encodeCbor, RingControl } from '../../shared/wire/envelope.ts'
import { dtypes, type FrameHeader, frameKinds, type FrameTag, phases } from '../../shared/wire/frame.ts'
import { BufferPool } from '../channel/buffer-pool.ts'
import type { Channel, Payload } from '../channel/channel.ts'
import { ControlQueue } from '../channel/control-queue.ts'
import { Inbox } from '../channel/inbox.ts'
import { lostPeer, silentPeer } from '../channel/peer-errors.ts'
import { FrameStream } from './frame-stream.ts'
import type { RankStream } from './rank-stream.ts'

export interface RingChannelOptions {
  readonly ring: RingEpoch
  readonly rank: number
  readonly stepTimeoutMs: number
  readonly earlyFrameBytes?: number
  readonly logger: Logger
}

interface Link {
  readonly member: RingMember
  readonly inbox: Inbox
  /** The error for a rank that does not answer, or does not read. */
  timeout(): MeshError
  stream: FrameStream | undefined
  path: LinkPath | undefined
  host: string | undefined
  relayThere: (() => boolean) | undefined
  error: MeshError | undefined
}

const noTag = { job: 0, step: 0, operation: 0, phase: phases.none, chunk: 0 } as const

export class RingChannel implements Channel {
  readonly rank: number
  readonly worldSize: number
  readonly #epoch: number
  readonly #ownName: string
  readonly stepTimeoutMs: number
  readonly #logger: Logger
  readonly #links = new Map<number, Link>()
  readonly #control = new ControlQueue()
  readonly #pool = new BufferPool()
  #closed = false

  constructor({ ring, rank, stepTimeoutMs, earlyFrameBytes, logger }: RingChannelOptions) {
    this.rank = rank
    this.worldSize = ring.members.length
    this.#epoch = ring.epoch
    this.#ownName = ring.members[rank].name
    this.stepTimeoutMs = stepTimeoutMs
    this.#logger = logger
    for (const member of ring.members) {
      const timeout = (): MeshError => silentPeer(member, stepTimeoutMs)
      this.#links.set(member.rank, {
        member,
        timeout,
        inbox: new Inbox({ stepTimeoutMs, earlyFrameBytes, timeout }),
        stream: undefined,
        path: undefined,
        host: undefined,
        relayThere: undefined,
        error: undefined,
      })
    }
  }

  /** The stream to one rank is there. A second one for the same rank is refused. */
  attach(member: RingMember, { stream, path, host, relayThere }: RankStream): void {
    const link = this.#link(member.rank)
    if (link.stream || this.#closed)
      return stream.abort(new MeshError('frameInvalid', { problem: 'a second stream of one rank' }))
    link.path = path
    link.host = host
    link.relayThere = relayThere
    link.stream = new FrameStream(stream, {
      drainMs: this.stepTimeoutMs,
      allocate: (bytes) => this.#pool.take(bytes),
      late: () => link.timeout(),
      events: {
        frame: (header, payload) => this.#receiveFrame(link, header, payload),
        end: (error) => this.#lost(link, error),
      },
    })
  }

  async send(to: number, tag: FrameTag, { dtype, bytes }: Payload): Promise<void> {
    await this.#sendFrame(
      to,
      { ...tag, kind: frameKinds.tensor, dtype, epoch: this.#epoch, payloadBytes: bytes.length },
      bytes,
    )
  }

  receive(from: number, tag: FrameTag): Promise<Payload> {
    return this.#link(from).inbox.take(tag)
  }

  async sendControl(to: number, message: RingControl): Promise<void> {
    const bytes = encodeCbor(message)
    await this.#sendFrame(
      to,
      { ...noTag, kind: frameKinds.control, dtype: dtypes.bytes, epoch: this.#epoch, payloadBytes: bytes.length },
      bytes,
    )
  }

  onControl(receiver: Parameters<Channel['onControl']>[0]): void {
    this.#control.receive(receiver)
  }

  /** How the link to that rank goes; `undefined` while there is none. */
  pathTo(rank: number): LinkPath | undefined {
    return this.#link(rank).path
  }

  /** The machine at the other end of the link to that rank; `undefined` when there is a relay between. */
  hostOf(rank: number): string | undefined {
    return this.#link(rank).host
  }

  get bytesSent(): number {
    return [...this.#links.values()].reduce((sum, { stream }) => sum + (stream?.bytesSent ?? 0), 0)
  }

  forgetJob(job: number): void {
    for (const { inbox } of this.#links.values()) inbox.forget(job)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    const links = [...this.#links.values()]
    for (const { inbox, member } of links)
      inbox.break(
        new MeshError('peerLost', { peer: member.name, rank: member.rank, problem: 'this agent left the epoch' }),
      )
    await Promise.all(links.map(({ stream }) => stream?.close()))
  }

  #link(rank: number): Link {
    const link = this.#links.get(rank)
    if (!link || rank === this.rank) throw new RangeError(`no link to rank ${rank} of ${this.worldSize}`)
    return link
  }

  async #sendFrame(to: number, header: FrameHeader, bytes: Uint8Array): Promise<void> {
    const link = this.#link(to)
    if (link.error) throw link.error
    try {
      await link.stream?.send(header, bytes)
    } catch (error) {
      throw link.error ?? lostPeer(link.member, error)
    }
  }

  /** @throws MeshError for a frame that must not be here: ends the stream */
  #receiveFrame(link: Link, header: FrameHeader, payload: Uint8Array): void {
    if (header.epoch !== this.#epoch) throw new MeshError('epochStale', { got: header.epoch, want: this.#epoch })
    if (header.kind === frameKinds.control) this.#control.message(link.member.rank, decodeCbor(RingControl, payload))
    else link.inbox.put(header, { dtype: header.dtype, bytes: payload, release: () => this.#pool.give(payload) })
  }

  /** Where the relay between is gone too, nothing is known of the rank behind it. */
  #lossOf({ member, relayThere }: Link, cause: Error): MeshError {
    const lost = lostPeer(member, cause)
    if (lost.code !== 'peerLost' || relayThere === undefined || relayThere()) return lost
    return new MeshError(
      'relayLost',
      { device: this.#ownName, peer: member.name, rank: member.rank, problem: String(lost.fields.problem) },
      cause,
    )
  }

  #lost(link: Link, cause: Error): void {
    if (link.error || this.#closed) return
    link.error = this.#lossOf(link, cause)
    this.#logger.warn({ rank: link.member.rank, peer: link.member.name, problem: link.error.message }, 'link lost')
    // no collective of this epoch can end without that rank: who waits for another one must not wait for its deadline
    for (const { inbox } of this.#links.values()) inbox.break(link.error)
    this.#control.lost(link.member.rank, link.error)
  }
}
