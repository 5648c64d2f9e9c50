/**
 * `TensorChannel` over one encrypted socket a rank, in the process that computes: a small frame goes out in one write
 * and comes in with one wake of the thread that waits for it. No control messages: those stay on the streams of libp2p.
 */
import type { Socket } from 'node:net'
import { MeshError } from '../../../shared/errors.ts'
import {
  encodeFrameHeader,
  type FrameHeader,
  frameHeaderBytes,
  frameKinds,
  type FrameTag,
  writeFrameHeader,
} from '../../../shared/wire/frame.ts'
import { BufferPool } from '../buffer-pool.ts'
import type { Payload, TensorChannel } from '../channel.ts'
import { FrameAssembler } from '../frame-assembler.ts'
import { Inbox } from '../inbox.ts'
import { lostPeer, type PeerName, silentPeer } from '../peer-errors.ts'
import { Lookout } from './lookout.ts'

export interface SocketChannelOptions {
  readonly rank: number
  readonly epoch: number
  /** Name of each rank, for errors. */
  readonly names: readonly string[]
  /** To every other rank: open, nothing read yet. */
  readonly sockets: ReadonlyMap<number, Socket>
  readonly stepTimeoutMs: number
  readonly earlyFrameBytes?: number
  /** Milliseconds to look for a frame before the thread sleeps. */
  readonly spinMs: number
}

interface Link {
  readonly peer: PeerName
  readonly socket: Socket
  readonly inbox: Inbox
  /** The error for a rank that does not answer, or does not read. */
  timeout(): MeshError
}

/** Frames up to this are copied behind their header: one write, and the sender has its memory back at once. */
const copiedBytes = 64 * 1024

export class SocketChannel implements TensorChannel {
  readonly rank: number
  readonly worldSize: number
  bytesSent = 0
  readonly #epoch: number
  readonly #stepTimeoutMs: number
  readonly #pool = new BufferPool()
  readonly #lookout: Lookout
  readonly #links = new Map<number, Link>()
  #error: MeshError | undefined
  #closed = false

  constructor({ rank, epoch, names, sockets, stepTimeoutMs, earlyFrameBytes, spinMs }: SocketChannelOptions) {
    this.rank = rank
    this.worldSize = names.length
    this.#epoch = epoch
    this.#stepTimeoutMs = stepTimeoutMs
    this.#lookout = new Lookout(spinMs)
    for (const [other, socket] of sockets) {
      const peer = { rank: other, name: names[other] }
      const timeout = (): MeshError => silentPeer(peer, stepTimeoutMs)
      this.#attach(other, { peer, socket, timeout, inbox: new Inbox({ stepTimeoutMs, earlyFrameBytes, timeout }) })
    }
    // it may have ended before anybody listened
    for (const [other, socket] of sockets)
      if (socket.destroyed) this.#lose(other, new Error('the peer closed the link'))
  }

  async send(to: number, tag: FrameTag, { dtype, bytes }: Payload): Promise<void> {
    const link = this.#link(to)
    const { socket } = link
    if (this.#error) throw this.#error
    const header: FrameHeader = {
      job: tag.job,
      step: tag.step,
      operation: tag.operation,
      phase: tag.phase,
      chunk: tag.chunk,
      kind: frameKinds.tensor,
      dtype,
      epoch: this.#epoch,
      payloadBytes: bytes.length,
    }
    this.bytesSent += frameHeaderBytes + bytes.length
    try {
      if (bytes.length > copiedBytes) {
        await this.#written(link, (done) => {
          socket.cork()
          socket.write(encodeFrameHeader(header))
          socket.write(bytes, done)
          socket.uncork()
        })
        return
      }
      const frame = Buffer.allocUnsafeSlow(frameHeaderBytes + bytes.length)
      writeFrameHeader(frame, header)
      frame.set(bytes, frameHeaderBytes)
      if (!socket.write(frame)) await this.#written(link, (done) => socket.write(new Uint8Array(0), done))
    } catch (error) {
      throw this.#error ?? this.#lose(to, error)
    }
  }

  receive(from: number, tag: FrameTag): Promise<Payload> {
    const { inbox } = this.#link(from)
    this.#lookout.begin()
    return inbox.take(tag)
  }

  forgetJob(job: number): void {
    for (const { inbox } of this.#links.values()) inbox.forget(job)
  }

  /** Fails all that waits. */
  break(error: MeshError): void {
    this.#error ??= error
    for (const { inbox } of this.#links.values()) inbox.break(this.#error)
  }

  close(): Promise<void> {
    this.#closed = true
    this.break(new MeshError('peerLost', { peer: 'this agent', rank: this.rank, problem: 'this agent left the epoch' }))
    for (const { socket } of this.#links.values()) socket.destroy()
    return Promise.resolve()
  }

  #link(rank: number): Link {
    const link = this.#links.get(rank)
    if (!link) throw new RangeError(`no link to rank ${rank} of ${this.worldSize}`)
    return link
  }

  /**
   * Settles when the socket took everything. Too late, it is closed: part of a frame may be on its way, from memory
   * that the sender uses again.
   */
  #written({ socket, timeout }: Link, write: (done: (error?: Error | null) => void) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const error = timeout()
        reject(error)
        socket.destroy(error)
      }, this.#stepTimeoutMs)
      write((error) => {
        clearTimeout(timer)
        if (error) reject(error)
        else resolve()
      })
    })
  }

  #attach(rank: number, link: Link): void {
    const { socket, inbox } = link
    this.#links.set(rank, link)
    socket.setNoDelay(true)
    const assembler = new FrameAssembler(
      (header, payload) => this.#receiveFrame(inbox, header, payload),
      (bytes) => this.#pool.take(bytes),
    )
    socket.on('data', (chunk: Buffer) => {
      try {
        assembler.push(chunk)
      } catch (error) {
        this.#lose(rank, error)
        socket.destroy()
      }
    })
    socket.on('error', (error) => this.#lose(rank, error))
    socket.on('close', () => this.#lose(rank, new Error('the peer closed the link')))
  }

  /** @throws MeshError for a frame that must not be here: ends the link */
  #receiveFrame(inbox: Inbox, header: FrameHeader, payload: Uint8Array): void {
    if (header.epoch !== this.#epoch) throw new MeshError('epochStale', { got: header.epoch, want: this.#epoch })
    if (header.kind !== frameKinds.tensor)
      throw new MeshError('frameInvalid', { problem: 'a control frame on a link for tensors' })
    this.#lookout.end()
    inbox.put(header, { dtype: header.dtype, bytes: payload, release: () => this.#pool.give(payload) })
  }

  #lose(rank: number, cause: unknown): MeshError {
    const error = lostPeer(this.#link(rank).peer, cause)
    // no collective of this epoch can end without that rank: who waits for another one must not wait for its deadline
    if (!this.#closed) this.break(error)
    return error
  }
}
