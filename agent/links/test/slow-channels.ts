/** Channels between ranks of one process, with links that take their time: by the clock of the test. */
import type { FrameTag } from '../../../shared/wire/frame.ts'
import type { Payload, TensorChannel } from '../../channel/channel.ts'
import { Inbox } from '../../channel/inbox.ts'

export interface LinkModel {
  /** Milliseconds one way of message `count` (from 0) of that direction. */
  delayMs(count: number): number
  readonly bytesPerSecond: number
}

export interface SlowChannel extends TensorChannel {
  /** Sizes of what was sent, in order. */
  readonly sizes: number[]
}

export const createSlowChannels = (worldSize: number, model: LinkModel, now: () => number): SlowChannel[] => {
  const timeout = () => new Error('nothing came') as never
  const inboxes = Array.from({ length: worldSize }, () =>
    Array.from({ length: worldSize }, () => new Inbox({ stepTimeoutMs: 1e6, timeout })),
  )
  return inboxes.map((own, rank) => {
    const freeAt = Array.from({ length: worldSize }, () => 0)
    const counts = Array.from({ length: worldSize }, () => 0)
    const sizes: number[] = []
    return {
      rank,
      worldSize,
      sizes,
      get bytesSent() {
        return sizes.reduce((sum, size) => sum + size, 0)
      },
      send: async (to: number, tag: FrameTag, { dtype, bytes }: Payload) => {
        sizes.push(bytes.length)
        // a link is busy with what came before, then with these bytes, and then they are on their way
        freeAt[to] = Math.max(now(), freeAt[to]) + (bytes.length / model.bytesPerSecond) * 1000
        const copy = { dtype, bytes: new Uint8Array(bytes) }
        const ms = freeAt[to] - now() + model.delayMs(counts[to]++)
        setTimeout(() => inboxes[to][rank].put(tag, copy), Math.round(ms))
      },
      receive: (from: number, tag: FrameTag) => own[from].take(tag),
      forgetJob: (job: number) => {
        for (const inbox of own) inbox.forget(job)
      },
    } as SlowChannel
  })
}
