/**
 * Between the agent and its compute process, over three pipes. To the process: first the options, then commands (fd 3);
 * while it holds links to other ranks, it reads all that from another pipe (fd 5), in its event loop. From it (fd 4):
 * progress while it loads, `ready`, then one answer a command. Every message has a header of two u32 words,
 * little-endian: kind and bytes that follow. Requests about links, their results and refusals are JSON.
 */
import { readSync, writeSync } from 'node:fs'
import type { LinkRequest } from '../../links/link-requests.ts'
import { openLibc } from '../../engine/ggml/libc.ts'

export const kinds = {
  options: 1,
  command: 2,
  memory: 3,
  progress: 4,
  ready: 5,
  done: 6,
  failed: 7,
  request: 8,
  result: 9,
  refused: 10,
} as const
export type Kind = (typeof kinds)[keyof typeof kinds]

export const headerBytes = 8
export const inputFile = 3
export const outputFile = 4
/** What `inputFile` is, while the process holds links. */
export const linkedInputFile = 5

export const encodeMessage = (kind: Kind, body: Uint8Array = new Uint8Array(0)): Buffer => {
  const message = Buffer.alloc(headerBytes + body.length)
  message.writeUInt32LE(kind, 0)
  message.writeUInt32LE(body.length, 4)
  message.set(body, headerBytes)
  return message
}

/** Body of a request about links. */
export const encodeRequest = (request: LinkRequest, body: unknown): Buffer =>
  Buffer.from(JSON.stringify({ request, body }))

export interface Request {
  readonly request: LinkRequest
  readonly body: unknown
}

export const decodeRequest = (body: Buffer): Request => JSON.parse(body.toString('utf8')) as Request

export interface Message {
  readonly kind: Kind
  readonly body: Buffer
}

const readBytes = 64 * 1024
/** MSG_DONTWAIT */
const dontWait = process.platform === 'darwin' ? 0x80 : 0x40

/** In the process: what the agent asks. */
export class MessageReader {
  #bytes = Buffer.alloc(readBytes)
  #filled = 0
  /**
   * How long the process looks for the next message before it sleeps, in milliseconds. A core that sleeps takes about
   * 0.1 ms to wake, twice a half layer; looking keeps it awake, and hands it to whoever else wants it each time round.
   */
  spinMs = 0

  /** Blocks until there is a message; `undefined` when the agent is gone. */
  read(): Message | undefined {
    while (this.#filled < this.#wanted()) {
      if (this.#wanted() > this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes], this.#wanted())
      const got =
        this.#look() || readSync(inputFile, this.#bytes, this.#filled, this.#bytes.length - this.#filled, null)
      if (got === 0) return undefined
      this.#filled += got
    }
    const end = this.#wanted()
    const message = {
      kind: this.#bytes.readUInt32LE(0) as Kind,
      body: Buffer.from(this.#bytes.subarray(headerBytes, end)),
    }
    this.#bytes.copyWithin(0, end, this.#filled)
    this.#filled -= end
    return message
  }

  /** Bytes of the message that comes, as far as its header is known. */
  #wanted(): number {
    return this.#filled < headerBytes ? headerBytes : headerBytes + this.#bytes.readUInt32LE(4)
  }

  /** @returns bytes that came in that time; 0 for none */
  #look(): number {
    if (this.spinMs === 0) return 0
    const libc = openLibc()
    const until = performance.now() + this.spinMs
    do {
      const got = Number(
        libc.recv(inputFile, this.#bytes.subarray(this.#filled), this.#bytes.length - this.#filled, dontWait),
      )
      if (got > 0) return got
      libc.sched_yield()
    } while (performance.now() < until)
    return 0
  }
}

/** In the process. */
export const writeMessage = (kind: Kind, body?: Uint8Array): void => {
  const message = encodeMessage(kind, body)
  for (let at = 0; at < message.length;) at += writeSync(outputFile, message, at)
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
