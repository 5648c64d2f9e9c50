/** Frames (`shared/wire/frame.ts`) cut out of a stream of bytes. */
import { decodeFrameHeader, type FrameHeader, frameHeaderBytes } from '../../shared/wire/frame.ts'

/**
 * Collects frames from chunks of any size. One copy: into memory of exactly the payload, taken from `allocate` after
 * the header was checked.
 */
export class FrameAssembler {
  readonly #onFrame: (header: FrameHeader, payload: Uint8Array) => void
  readonly #allocate: (bytes: number) => Uint8Array
  readonly #header = new Uint8Array(frameHeaderBytes)
  #headerFilled = 0
  #current: FrameHeader | undefined
  #payload: Uint8Array = new Uint8Array(0)
  #filled = 0
  /** After a bad frame nothing can be trusted to be where a header begins. */
  #failed = false

  constructor(
    onFrame: (header: FrameHeader, payload: Uint8Array) => void,
    allocate: (bytes: number) => Uint8Array = (bytes) => new Uint8Array(bytes),
  ) {
    this.#onFrame = onFrame
    this.#allocate = allocate
  }

  /**
   * @throws MeshError `frameInvalid` | `frameTooLarge` | `protocolVersion` | what the receiver threw; the rest of the
   * stream is then ignored
   */
  push(chunk: Uint8Array): void {
    if (this.#failed) return
    try {
      this.#read(chunk)
    } catch (error) {
      this.#failed = true
      throw error
    }
  }

  #read(chunk: Uint8Array): void {
    let at = 0
    while (at < chunk.length) {
      if (!this.#current) {
        const count = Math.min(frameHeaderBytes - this.#headerFilled, chunk.length - at)
        this.#header.set(chunk.subarray(at, at + count), this.#headerFilled)
        this.#headerFilled += count
        at += count
        if (this.#headerFilled < frameHeaderBytes) return
        this.#current = decodeFrameHeader(this.#header)
        this.#payload = this.#allocate(this.#current.payloadBytes)
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
