/** Hands control messages and losses to their one receiver; what comes before there is one waits. */
import { MeshError } from '../../shared/errors.ts'
import type { RingControl } from '../../shared/wire/envelope.ts'
import type { Channel } from './channel.ts'

type Receiver = Parameters<Channel['onControl']>[0]

/** The receiver comes right after the links; a peer that sends more before is not one of ours. */
const earlyMessages = 1000

export class ControlQueue {
  #receiver: Receiver | undefined
  #early: ((receiver: Receiver) => void)[] = []

  /** @throws MeshError `overloaded` when nobody listens and too many wait */
  message(from: number, message: RingControl): void {
    if (!this.#receiver && this.#early.length >= earlyMessages)
      throw new MeshError('overloaded', { what: 'the queue of control messages', limit: earlyMessages })
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
