/** Hands control messages and losses to their one receiver; what comes before there is one waits. */
import type { RingControl } from '../../shared/wire/envelope.ts'
import type { Channel } from './channel.ts'

type Receiver = Parameters<Channel['onControl']>[0]

export class ControlQueue {
  #receiver: Receiver | undefined
  #early: ((receiver: Receiver) => void)[] = []

  message(from: number, message: RingControl): void {
    this.#deliver((receiver) => receiver.message(from, message))
  }

  lost(from: number, error: Error): void {
    this.#deliver((receiver) => receiver.lost(from, error))
  }

  receive(receiver: Receiver): void {
    this.#receiver = receiver
    const early = this.#early
    this.#early = []
    for (const deliver of early) deliver(receiver)
  }

  #deliver(deliver: (receiver: Receiver) => void): void {
    if (this.#receiver) deliver(this.#receiver)
    else this.#early.push(deliver)
  }
}
