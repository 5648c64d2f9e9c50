/** Frames (`shared/wire/frame.ts`) over one libp2p stream: cut out of the byte stream, sent with back-pressure. */
import type { Stream } from '@libp2p/interface'
import { MeshError } from '../../shared/errors.ts'
import { type FrameHeader, frameHeaderBytes, writeFrameHeader } from '../../shared/wire/frame.ts'
import { chunkParts } from '../../shared/wire/message-stream.ts'
import { FrameAssembler } from '../channel/frame-assembler.ts'

/** Milliseconds that frames on their way out get when a stream is closed. */
const closeMs = 1000

export interface FrameStreamEvents {
  frame(header: FrameHeader, payload: Uint8Array): void
  /** Once: the stream ended, for whatever reason. */
  end(error: Error): void
}

/** Settles at the next chance to send. @throws what closed the stream | `late()` after `ms` */
const nextDrain = (stream: Stream, ms: number, late: () => Error): Promise<void> =>
  new Promise((resolve, reject) => {
    if (stream.status !== 'open') return reject(new Error('the stream was closed'))
    const settle = (action: () => void): void => {
      clearTimeout(timer)
      stream.removeEventListener('drain', onDrain)
      stream.removeEventListener('close', onClose)
      action()
    }
    const onDrain = (): void => settle(resolve)
    const onClose = (event: { readonly error?: Error }): void =>
      settle(() => reject(event.error ?? new Error('the stream was closed')))
    const timer = setTimeout(() => settle(() => reject(late())), ms)
    stream.addEventListener('drain', onDrain)
    stream.addEventListener('close', onClose)
  })

export interface FrameStreamOptions {
  readonly events: FrameStreamEvents
  /** Memory for the payload of a frame. */
  allocate?(bytes: number): Uint8Array
  /** How long a full stream may take to have room again. */
  readonly drainMs: number
  /** The error for a peer that does not read. */
  late(): Error
}

export class FrameStream {
  readonly #stream: Stream
  readonly #options: FrameStreamOptions
  #ended = false
  bytesSent = 0

  constructor(stream: Stream, options: FrameStreamOptions) {
    const { events } = options
    this.#stream = stream
    this.#options = options
    const assembler = new FrameAssembler((header, payload) => events.frame(header, payload), options.allocate)
    stream.addEventListener('close', (event) => this.#end(event.error ?? new Error('the stream was closed')))
    stream.addEventListener('remoteCloseWrite', () => {
      this.#end(new Error('the peer closed the stream'))
      // our half would stay open for ever
      this.#stream.abort(new Error('the peer closed the stream'))
    })
    stream.addEventListener('message', (event) => {
      if (this.#ended) return
      try {
        for (const part of chunkParts(event.data)) assembler.push(part)
      } catch (error) {
        this.abort(MeshError.from(error))
      }
    })
    // it may have ended before anybody listened
    if (stream.status !== 'open') queueMicrotask(() => this.#end(new Error('the stream was closed')))
  }

  /**
   * Resolves when the stream has room for more. The payload was copied before, so the caller may change it at once.
   * @throws Error when the stream is gone | `late()` when the peer does not read
   */
  async send(header: FrameHeader, payload: Uint8Array): Promise<void> {
    if (this.#ended) throw new Error('the stream is closed')
    // header and payload in one piece: one packet for a small frame. The copy is needed in any case: encryption comes
    // later
    const frame = Buffer.allocUnsafeSlow(frameHeaderBytes + payload.length)
    writeFrameHeader(frame, header)
    frame.set(payload, frameHeaderBytes)
    this.bytesSent += frame.length
    this.#stream.send(frame)
    // not `stream.onDrain()`: its promise is made once and stays resolved after the first time
    const { drainMs, late } = this.#options
    while (this.#stream.writableNeedsDrain) await nextDrain(this.#stream, drainMs, late)
  }

  abort(error: Error): void {
    if (this.#ended) return
    this.#stream.abort(error)
    this.#end(error)
  }

  async close(): Promise<void> {
    if (this.#ended) return
    this.#ended = true
    await this.#stream
      .close({ signal: AbortSignal.timeout(closeMs) })
      .catch((error: unknown) => this.#stream.abort(error as Error))
  }

  #end(error: Error): void {
    if (this.#ended) return
    this.#ended = true
    this.#options.events.end(error)
  }
}
