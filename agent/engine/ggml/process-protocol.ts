/**
 * Between the agent and its compute process, over two pipes. To the process (fd 3): first the options, then commands.
 * From it (fd 4): progress while it loads, `ready`, then one answer a command. Every message has a header of two u32
 * words, little-endian: kind and bytes that follow.
 */
import { readSync, writeSync } from 'node:fs'

export const kinds = { options: 1, command: 2, memory: 3, progress: 4, ready: 5, done: 6, failed: 7 } as const
export type Kind = (typeof kinds)[keyof typeof kinds]

export const headerBytes = 8
export const inputFile = 3
export const outputFile = 4

export const encodeMessage = (kind: Kind, body: Uint8Array = new Uint8Array(0)): Buffer => {
  const message = Buffer.alloc(headerBytes + body.length)
  message.writeUInt32LE(kind, 0)
  message.writeUInt32LE(body.length, 4)
  message.set(body, headerBytes)
  return message
}

const readExactly = (bytes: Buffer): boolean => {
  for (let at = 0; at < bytes.length; ) {
    const got = readSync(inputFile, bytes, at, bytes.length - at, null)
    if (got === 0) return false
    at += got
  }
  return true
}

/** In the process: blocks until there is a message; `undefined` when the agent is gone. */
export const readMessage = (): { readonly kind: Kind; readonly body: Buffer } | undefined => {
  const header = Buffer.alloc(headerBytes)
  if (!readExactly(header)) return undefined
  const body = Buffer.alloc(header.readUInt32LE(4))
  if (!readExactly(body)) return undefined
  return { kind: header.readUInt32LE(0) as Kind, body }
}

/** In the process. */
export const writeMessage = (kind: Kind, body?: Uint8Array): void => {
  const message = encodeMessage(kind, body)
  for (let at = 0; at < message.length; ) at += writeSync(outputFile, message, at)
}

/** In the agent: cuts a stream into messages. */
export const createReader = (onMessage: (kind: Kind, body: Buffer) => void): ((chunk: Buffer) => void) => {
  let waiting: Buffer = Buffer.alloc(0)
  return (chunk) => {
    waiting = waiting.length === 0 ? chunk : Buffer.concat([waiting, chunk])
    while (waiting.length >= headerBytes) {
      const end = headerBytes + waiting.readUInt32LE(4)
      if (waiting.length < end) return
      const [kind, body] = [waiting.readUInt32LE(0) as Kind, waiting.subarray(headerBytes, end)]
      waiting = waiting.subarray(end)
      onMessage(kind, body)
    }
  }
}
