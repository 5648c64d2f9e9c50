/** This rank's ends of the sockets of one epoch: listens, links, closes. */
import type { LinkPlan } from './link-plan.ts'
import { SocketChannel } from './socket-channel.ts'
import { type LinkCertificate, LinkListener } from './tls-sockets.ts'

export class SocketEnds {
  readonly #spinMs: number
  #listener: LinkListener | undefined
  #channel: SocketChannel | undefined

  /** @param spinMs how long to look for a frame before the thread sleeps */
  constructor(spinMs = 0) {
    this.#spinMs = spinMs
  }

  /** Ends what was open before. @param host of the interface, or `::` for all. @returns the port */
  async listen(certificate: LinkCertificate, host: string): Promise<number> {
    await this.close()
    this.#channel = undefined
    this.#listener = await LinkListener.listen(certificate, host)
    return this.#listener.port
  }

  /** @throws Error when not all ranks are there in time */
  async connect({ peers, connectMs, ...plan }: LinkPlan): Promise<void> {
    if (!this.#listener) throw new Error('connect comes after listen')
    const sockets = await this.#listener.connect(peers, connectMs)
    this.#channel = new SocketChannel({ ...plan, sockets, spinMs: this.#spinMs })
  }

  /** @throws Error before `connect` */
  get channel(): SocketChannel {
    if (!this.#channel) throw new Error('no links are open')
    return this.#channel
  }

  get isOpen(): boolean {
    return this.#channel !== undefined
  }

  async close(): Promise<void> {
    this.#listener?.close()
    await this.#channel?.close()
  }
}
