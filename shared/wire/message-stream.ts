/** One small length-prefixed message (u32 little-endian, then bytes) over a stream: gate, hello, proof at a relay. */
import { MeshError } from '../errors.ts'

/** What a stream delivers: bytes, or a list of them. */
export type Chunk = Uint8Array | Iterable<Uint8Array>

/** A chunk as its parts, without copying. */
export const chunkParts = (data: Chunk): Iterable<Uint8Array> => (data instanceof Uint8Array ? [data] : data)

/** What a libp2p stream offers of itself that is needed here. */
export interface MessageStream {
  send(data: Uint8Array): unknown
  unshift(data: Uint8Array): void
  addEventListener(type: 'message', listener: (event: { readonly data: Chunk }) => void): void
  addEventListener(type: 'close' | 'remoteCloseWrite', listener: () => void): void
  removeEventListener(type: 'message', listener: (event: { readonly data: Chunk }) => void): void
  removeEventListener(type: 'close' | 'remoteCloseWrite', listener: () => void): void
}

export const sendMessage = (stream: Pick<MessageStream, 'send'>, body: Uint8Array): void => {
  const message = new Uint8Array(4 + body.length)
  new DataView(message.buffer).setUint32(0, body.length, true)
  message.set(body, 4)
  stream.send(message)
}

/** A message as it comes in, in memory of its own size: each byte is copied once, however small the chunks are. */
class Incoming {
  readonly #limitBytes: number
  #bytes = new Uint8Array(4)
  #filled = 0
  #body = false

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  get message(): Uint8Array {
    return this.#bytes
  }

  /** @returns how many bytes of `part` belong to it, and whether it is complete; @throws MeshError `frameTooLarge` */
  take(part: Uint8Array): { readonly taken: number; readonly complete: boolean } {
    let taken = 0
    for (;;) {
      const count = Math.min(this.#bytes.length - this.#filled, part.length - taken)
      this.#bytes.set(part.subarray(taken, taken + count), this.#filled)
      this.#filled += count
      taken += count
      if (this.#filled < this.#bytes.length) return { taken, complete: false }
      if (this.#body) return { taken, complete: true }
      const length = new DataView(this.#bytes.buffer).getUint32(0, true)
      if (length > this.#limitBytes)
        throw new MeshError('frameTooLarge', { gotBytes: length, limitBytes: this.#limitBytes })
      this.#bytes = new Uint8Array(length)
      this.#filled = 0
      this.#body = true
    }
  }
}

/**
 * Reads the next message; bytes behind it stay in the stream for the next reader.
 * @param limitBytes nothing larger is ever held
 * @throws MeshError `frameTooLarge` | `frameInvalid` (the stream ended) | the reason of the signal
 */
export const readMessage = (stream: MessageStream, limitBytes: number, signal: AbortSignal): Promise<Uint8Array> =>
  new Promise((resolve, reject) => {
    const incoming = new Incoming(limitBytes)
    const settle = (action: () => void): void => {
      stream.removeEventListener('message', onMessage)
      stream.removeEventListener('close', onClose)
      stream.removeEventListener('remoteCloseWrite', onClose)
      signal.removeEventListener('abort', onAbort)
      action()
    }
    const onAbort = (): void => settle(() => reject(signal.reason as Error))
    const onClose = (): void =>
      settle(() => reject(new MeshError('frameInvalid', { problem: 'the stream ended before the message' })))
    const onMessage = (event: { readonly data: Chunk }): void => {
      try {
        const parts = [...chunkParts(event.data)]
        for (const [index, part] of parts.entries()) {
          const { taken, complete } = incoming.take(part)
          if (!complete) continue
          return settle(() => {
            const rest = Buffer.concat([part.subarray(taken), ...parts.slice(index + 1)])
            if (rest.length > 0) stream.unshift(new Uint8Array(rest))
            resolve(incoming.message)
          })
        }
      } catch (error) {
        settle(() => reject(error as Error))
      }
    }
    if (signal.aborted) return reject(signal.reason as Error)
    signal.addEventListener('abort', onAbort)
    stream.addEventListener('close', onClose)
    stream.addEventListener('remoteCloseWrite', onClose)
    stream.addEventListener('message', onMessage)
  })
