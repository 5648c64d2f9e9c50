/** Frames (`shared/wire/frame.ts`) over one libp2p stream: cut out of the byte stream, sent with back-pressure. */
import type { Stream } from '@libp2p/interface'
import { MeshError } from '../../shared/errors.ts'
import { decodeFrameHeader, encodeFrameHeader, type FrameHeader, frameHeaderBytes } from '../../shared/wire/frame.ts'
import { chunkBytes } from './message-reader.ts'

/** Collects frames from chunks of any size. One copy: into memory of exactly the payload, taken after the header was checked. */
export class FrameAssembler {
  readonly #onFrame: (header: FrameHeader, payload: Uint8Array) => void
  readonly #header = new Uint8Array(frameHeaderBytes)
  #headerFilled = 0
  #current: FrameHeader | undefined
  #payload = new Uint8Array(0)
  #filled = 0

  constructor(onFrame: (header: FrameHeader, payload: Uint8Array) => void) {
    this.#onFrame = onFrame
  }

  /** @throws MeshError `frameInvalid` | `frameTooLarge` | `protocolVersion`; the stream is then useless */
  push(chunk: Uint8Array): void {
    let at = 0
    while (at < chunk.length) {
      if (!this.#current) {
        const count = Math.min(frameHeaderBytes - this.#headerFilled, chunk.length - at)
        this.#header.set(chunk.subarray(at, at + count), this.#headerFilled)
        this.#headerFilled += count
        at += count
        if (this.#headerFilled < frameHeaderBytes) return
        this.#current = decodeFrameHeader(this.#header)
        this.#payload = new Uint8Array(this.#current.payloadBytes)
        this.#filled = 0
      }
      const count = Math.min(this.#payload.length - this.#filled, chunk.length - at)
      this.#payload.set(chunk.subarray(at, at + count), this.#filled)
      this.#filled += count
      at += count
      if (this.#filled < this.#payload.length) return
      const header = this.#current
      this.#current = undefined
      this.#headerFilled = 0
      this.#onFrame(header, this.#payload)
    }
  }
}

export interface FrameStreamEvents {
  frame(header: FrameHeader, payload: Uint8Array): void
  /** Once: the stream ended, for whatever reason. */
  end(error: Error): void
}

export class FrameStream {
  readonly #stream: Stream
  readonly #events: FrameStreamEvents
  #ended = false
  bytesSent = 0

  constructor(stream: Stream, events: FrameStreamEvents) {
    this.#stream = stream
    this.#events = events
    const assembler = new FrameAssembler((header, payload) => events.frame(header, payload))
    stream.addEventListener('close', (event) => this.#end(event.error ?? new Error('the stream was closed')))
    stream.addEventListener('remoteCloseWrite', () => this.#end(new Error('the peer closed the stream')))
    stream.addEventListener('message', (event) => {
      if (this.#ended) return
      try {
        assembler.push(chunkBytes(event.data))
      } catch (error) {
        this.abort(MeshError.from(error))
      }
    })
  }

  /** Resolves when the stream took the frame over. @throws Error when the stream is gone */
  async send(header: FrameHeader, payload: Uint8Array): Promise<void> {
    if (this.#ended) throw new Error('the stream is closed')
    this.bytesSent += frameHeaderBytes + payload.length
    this.#stream.send(encodeFrameHeader(header))
    // a view would be sent later, when the caller may have changed it
    if (payload.length > 0 && !this.#stream.send(payload.slice())) await this.#stream.onDrain()
  }

  abort(error: Error): void {
    if (this.#ended) return
    this.#stream.abort(error)
    this.#end(error)
  }

  async close(): Promise<void> {
    if (this.#ended) return
    this.#ended = true
    await this.#stream.close({ signal: AbortSignal.timeout(1000) }).catch((error: unknown) => this.#stream.abort(error as Error))
  }

  #end(error: Error): void {
    if (this.#ended) return
    this.#ended = true
    this.#events.end(error)
  }
}
