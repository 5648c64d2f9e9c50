/** Strangers at a port of libp2p: sockets that stop in the middle of a handshake, and come again when they are cut. */
import { connect, type Socket } from 'node:net'

/** A line of multistream-select, with its length before it. */
const line = (text: string): Buffer => Buffer.concat([Buffer.from([text.length + 1]), Buffer.from(`${text}\n`)])
const hello = line('/multistream/1.0.0')

/** What each kind of stranger says, piece by piece, before it falls silent. */
export const stages: Readonly<Record<string, readonly Buffer[]>> = {
  'says nothing': [],
  'says one byte after the other': [
    ...Array.from({ length: hello.length }, (_, at) => hello.subarray(at, at + 1)),
    ...Array.from({ length: 100 }, () => Buffer.from([200])),
  ],
  'stops after the greeting': [hello],
  'stops within the first message of TLS': [
    Buffer.concat([hello, line('/tls/1.0.0')]),
    Buffer.from('16030102000100', 'hex'),
    Buffer.from('01fc0303aabbcc', 'hex'),
  ],
  'stops within the first message of Noise': [Buffer.concat([hello, line('/noise')]), Buffer.from('0020aabb', 'hex')],
  'talks of something else': [Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
}
/** Those that hold their socket until it is cut. */
const patient = Object.fromEntries(Object.entries(stages).filter(([kind]) => /says nothing|stops/.test(kind)))

export interface FloodOptions {
  readonly port: number
  /** Held at once, dealt out over the stages. */
  readonly sockets: number
  /** Addresses of this machine that they come from, in turn. */
  readonly from?: readonly string[]
  /** Milliseconds until a socket that was cut comes again; absent: it does not. */
  readonly againMs?: number
  /** Only those that hold what they have until they are cut. Default: all stages. */
  readonly isPatient?: boolean
  /**
   * Milliseconds between the first of one and of the next, so that places never become free all at once. Default: 0.
   */
  readonly apartMs?: number
}

export interface Flood {
  /** Sockets that are open now. */
  readonly open: number
  /** Sockets that were opened so far, also those cut at once. */
  readonly opened: number
  stop(): void
}

const pieceMs = 200

class Strangers implements Flood {
  readonly #options: FloodOptions
  readonly #sockets = new Set<Socket>()
  readonly #timers = new Set<NodeJS.Timeout>()
  opened = 0

  constructor(options: FloodOptions) {
    this.#options = options
    for (let index = 0; index < options.sockets; index++)
      this.#after(index * (options.apartMs ?? 0), () => this.#come(index))
  }

  get open(): number {
    return [...this.#sockets].filter((socket) => !socket.connecting).length
  }

  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer)
    for (const socket of this.#sockets) socket.removeAllListeners('close').destroy()
  }

  #come(index: number): void {
    const { port, from = ['127.0.0.1'], againMs, isPatient } = this.#options
    const kinds = Object.values(isPatient ? patient : stages)
    const pieces = [...kinds[index % kinds.length]]
    const socket = connect({ port, host: '127.0.0.1', localAddress: from[index % from.length] })
    this.#sockets.add(socket)
    this.opened++
    const say = (): void => {
      const next = pieces.shift()
      if (next === undefined || socket.destroyed) return
      socket.write(next)
      this.#after(pieceMs, say)
    }
    socket.on('connect', say)
    socket.on('error', () => undefined)
    socket.resume()
    socket.on('close', () => {
      this.#sockets.delete(socket)
      if (againMs !== undefined) this.#after(againMs, () => this.#come(index))
    })
  }

  #after(ms: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      action()
    }, ms)
    this.#timers.add(timer)
  }
}

/** Call `stop` on what it returns. */
export const flood = (options: FloodOptions): Flood => new Strangers(options)
