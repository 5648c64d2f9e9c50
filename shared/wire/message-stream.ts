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

export const sendMessage = (stream: MessageStream, body: Uint8Array): void => {
  const message = new Uint8Array(4 + body.length)
  new DataView(message.buffer).setUint32(0, body.length, true)
  message.set(body, 4)
  stream.send(message)
}

/**
 * Reads the next message; bytes behind it stay in the stream for the next reader.
 * @param limitBytes nothing larger is ever held
 * @throws MeshError `frameTooLarge` | `frameInvalid` (the stream ended) | the reason of the signal
 */
export const readMessage = (stream: MessageStream, limitBytes: number, signal: AbortSignal): Promise<Uint8Array> =>
  new Promise((resolve, reject) => {
    let waiting = Buffer.alloc(0)
    const settle = (action: () => void): void => {
      stream.removeEventListener('message', onMessage)
      stream.removeEventListener('close', onClose)
      stream.removeEventListener('remoteCloseWrite', onClose)
      signal.removeEventListener('abort', onAbort)
      action()
    }
    const onAbort = (): void => settle(() => reject(signal.reason as Error))
    const onClose = (): void => settle(() => reject(new MeshError('frameInvalid', { problem: 'the stream ended before the message' })))
    const onMessage = (event: { readonly data: Chunk }): void => {
      waiting = Buffer.concat([waiting, ...chunkParts(event.data)])
      if (waiting.length < 4) return
      const length = waiting.readUInt32LE(0)
      if (length > limitBytes) return settle(() => reject(new MeshError('frameTooLarge', { got: length, limit: limitBytes })))
      if (waiting.length < 4 + length) return
      settle(() => {
        const rest = waiting.subarray(4 + length)
        if (rest.length > 0) stream.unshift(new Uint8Array(rest))
        resolve(new Uint8Array(waiting.subarray(4, 4 + length)))
      })
    }
    if (signal.aborted) return reject(signal.reason as Error)
    signal.addEventListener('abort', onAbort)
    stream.addEventListener('close', onClose)
    stream.addEventListener('remoteCloseWrite', onClose)
    stream.addEventListener('message', onMessage)
  })
