/**
 * Plain TCP between the processes of a benchmark, with no more than `node:net`: what encryption, multiplexing, frames
 * and sums are measured against. Each rank dials its right neighbour.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** One connection; takes whole messages by their length alone. */
class RawLink {
  readonly #socket: Socket
  #pending = 0
  #arrived: () => void = () => {}

  constructor(socket: Socket) {
    this.#socket = socket
    socket.setNoDelay(true)
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk) => {
      this.#pending += chunk.length
      this.#arrived()
    })
  }

  send(bytes: Uint8Array): void {
    this.#socket.write(bytes)
  }

  async take(count: number): Promise<void> {
    while (this.#pending < count) {
      await new Promise<void>((resolve) => {
        this.#arrived = resolve
      })
    }
    this.#pending -= count
  }

  close(): void {
    this.#socket.destroy()
  }
}

const receipt = new Uint8Array(1)

export class RawTcp {
  readonly #server = createServer()
  #right: RawLink | undefined
  #left: RawLink | undefined
  #message = new Uint8Array(0)

  /** @returns the port that the left neighbour dials */
  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    this.#server.once('connection', (socket: Socket) => {
      this.#left = new RawLink(socket)
    })
    return (this.#server.address() as AddressInfo).port
  }

  /** Settles when both neighbours are connected. */
  async connect(port: number): Promise<void> {
    const socket = connect({ host: '127.0.0.1', port })
    await once(socket, 'connect')
    this.#right = new RawLink(socket)
    if (!this.#left) await once(this.#server, 'connection')
  }

  /**
   * Both ends send `bytes` and wait for as many: what an all-reduce of two ranks must do at least.
   * @returns milliseconds of each exchange
   */
  async exchange(neighbour: 'left' | 'right', bytes: number, count: number): Promise<number[]> {
    const link = this.#link(neighbour)
    const message = this.#bytes(bytes)
    const times: number[] = []
    for (let index = 0; index < count; index++) {
      const start = performance.now()
      link.send(message)
      await link.take(bytes)
      times.push(performance.now() - start)
    }
    return times
  }

  /** Sends `bytes` to the right. @returns milliseconds until the neighbour said that it has them all */
  async stream(bytes: number): Promise<number> {
    const link = this.#link('right')
    const start = performance.now()
    link.send(this.#bytes(bytes))
    await link.take(receipt.length)
    return performance.now() - start
  }

  /** The other end of `stream`. */
  async drain(bytes: number): Promise<void> {
    const link = this.#link('left')
    await link.take(bytes)
    link.send(receipt)
  }

  close(): void {
    this.#left?.close()
    this.#right?.close()
    this.#server.close()
  }

  #link(neighbour: 'left' | 'right'): RawLink {
    const link = neighbour === 'left' ? this.#left : this.#right
    if (!link) throw new Error('no raw connection yet')
    return link
  }

  /** A message of that size, taken from memory that is kept: allocation is no part of what is measured. */
  #bytes(count: number): Uint8Array {
    if (this.#message.length < count) this.#message = new Uint8Array(count)
    return this.#message.subarray(0, count)
  }
}
