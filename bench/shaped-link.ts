/**
 * A slow link in user space: a TCP proxy that lets bytes through late and no faster than a rate, in order. What TCP
 * itself does on a slow link (slow start, loss) is not imitated, and a connection is open at once.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** What a device sends leaves one byte after another, to whichever peer it goes. */
export class Uplink {
  readonly #bytesPerMs: number
  #freeAt = 0

  /** @param mbit megabits a second; 0: no limit */
  constructor(mbit: number) {
    this.#bytesPerMs = mbit === 0 ? Infinity : mbit * 125
  }

  /** @returns when the last of these bytes is out, on the clock of `performance.now()` */
  depart(bytes: number): number {
    this.#freeAt = Math.max(performance.now(), this.#freeAt) + bytes / this.#bytesPerMs
    return this.#freeAt
  }

  /** Bytes that must be under way for the link to be never idle: those of one delay and of a scheduler's turn. */
  windowBytes(delayMs: number): number {
    return Math.min(unlimitedWindowBytes, Math.max(leastWindowBytes, this.#bytesPerMs * (delayMs + turnMs)))
  }
}

const unlimitedWindowBytes = 8 * 2 ** 20
const leastWindowBytes = 128 * 1024
const turnMs = 20
/**
 * A timer counts whole milliseconds and may be one late; what is left of the wait is spent in turns of the event loop.
 */
const timerSlackMs = 2

/** One way of one connection: chunks in order, each let through when it is due. */
class OneWay {
  readonly #from: Socket
  readonly #to: Socket
  readonly #uplink: Uplink
  readonly #delayMs: number
  readonly #queue: { readonly bytes: Buffer | 'end'; readonly due: number }[] = []
  #queuedBytes = 0
  #armed = false

  constructor(from: Socket, to: Socket, { uplink, delayMs }: { readonly uplink: Uplink; readonly delayMs: number }) {
    this.#from = from
    this.#to = to
    this.#uplink = uplink
    this.#delayMs = delayMs
    from.on('data', (bytes: Buffer) => this.#take(bytes))
    from.on('end', () => this.#take('end'))
    // broken, not ended: nothing that is under way arrives
    from.on('error', () => to.resetAndDestroy())
    from.on('close', () => {
      if (!from.readableEnded) to.resetAndDestroy()
    })
    to.on('drain', () => this.#control())
  }

  #take(bytes: Buffer | 'end'): void {
    const size = bytes === 'end' ? 0 : bytes.length
    this.#queue.push({ bytes, due: this.#uplink.depart(size) + this.#delayMs })
    this.#queuedBytes += size
    this.#control()
    this.#arm()
  }

  #arm(): void {
    if (this.#armed || this.#queue.length === 0) return
    this.#armed = true
    const wait = this.#queue[0].due - performance.now()
    const tick = (): void => {
      this.#armed = false
      this.#deliver()
    }
    if (wait > timerSlackMs) setTimeout(tick, wait - timerSlackMs)
    else setImmediate(tick)
  }

  #deliver(): void {
    if (this.#to.destroyed) return
    const now = performance.now()
    while (this.#queue.length > 0 && this.#queue[0].due <= now) {
      const { bytes } = this.#queue.shift() as { readonly bytes: Buffer | 'end' }
      if (bytes === 'end') this.#to.end()
      else {
        this.#queuedBytes -= bytes.length
        this.#to.write(bytes)
      }
    }
    this.#control()
    this.#arm()
  }

  /** Reads on only while there is room: a sender is held up as by a real link. */
  #control(): void {
    if (this.#queuedBytes + this.#to.writableLength < this.#uplink.windowBytes(this.#delayMs)) this.#from.resume()
    else this.#from.pause()
  }
}

export interface ShapedLinkOptions {
  /** Port on loopback that this link leads to. */
  readonly port: number
  /** Each way. */
  readonly delayMs: number
  /** Of the side that dials, and of the one that listens. */
  readonly uplinks: readonly [Uplink, Uplink]
}

export class ShapedLink {
  readonly #options: ShapedLinkOptions
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  constructor(options: ShapedLinkOptions) {
    this.#options = options
    this.#server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, (socket) =>
      this.#serve(socket),
    )
  }

  /** @returns the port to dial instead */
  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    return (this.#server.address() as AddressInfo).port
  }

  close(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  #serve(near: Socket): void {
    const { port, delayMs, uplinks } = this.#options
    const far = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true })
    for (const socket of [near, far]) {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    }
    far.on('error', () => near.resetAndDestroy())
    near.on('error', () => far.resetAndDestroy())
    far.once('connect', () => {
      void new OneWay(near, far, { uplink: uplinks[0], delayMs })
      void new OneWay(far, near, { uplink: uplinks[1], delayMs })
      near.resume()
    })
  }
}
