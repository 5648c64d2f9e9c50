/** Channels between ranks of one process: for tests of collectives and of the token loop. */
import { MeshError } from '../../../shared/errors.ts'
import { frameHeaderBytes } from '../../../shared/wire/frame.ts'
import type { Channel } from '../channel.ts'
import { ControlQueue } from '../control-queue.ts'
import { Inbox } from '../inbox.ts'
import { lostPeer } from '../peer-errors.ts'

/** A channel that can be cut off, as when its process dies. */
export interface MemoryChannel extends Channel {
  kill(): void
}

/**
 * @param stepTimeoutMs how long `receive` waits
 * @param earlyFrameBytes most that is kept of what nobody asked for yet
 */
export const createMemoryChannels = (
  worldSize: number,
  stepTimeoutMs = 5000,
  earlyFrameBytes?: number,
): MemoryChannel[] => {
  const killed = (rank: number): MeshError =>
    new MeshError('peerLost', { peer: `rank ${rank}`, rank, problem: 'killed' })
  const timeout = (rank: number) => (): MeshError =>
    new MeshError('collectiveTimeout', { peer: `rank ${rank}`, rank, seconds: stepTimeoutMs / 1000 })
  const inboxes = Array.from({ length: worldSize }, () =>
    Array.from(
      { length: worldSize },
      (_, from) => new Inbox({ stepTimeoutMs, earlyFrameBytes, timeout: timeout(from) }),
    ),
  )
  const queues = Array.from({ length: worldSize }, () => new ControlQueue())
  const dead = new Set<number>()

  return inboxes.map((own, rank) => {
    let bytesSent = 0
    const check = (to: number): void => {
      if (dead.has(to)) throw killed(to)
      if (dead.has(rank)) throw killed(rank)
    }
    /** For that rank the link to this one is gone, and with it all that the epoch could compute. */
    const lose = (other: number, error: Error): void => {
      for (const inbox of inboxes[other]) inbox.break(error)
      queues[other].lost(rank, error)
    }
    /** A message arrives, or ends the link that it came by. */
    const arrive = (to: number, action: () => void): void => {
      setImmediate(() => {
        if (dead.has(to) || dead.has(rank)) return
        try {
          action()
        } catch (error) {
          lose(to, lostPeer({ rank, name: `rank ${rank}` }, error))
        }
      })
    }
    const kill = (): void => {
      if (dead.has(rank)) return
      dead.add(rank)
      for (let other = 0; other < worldSize; other++) if (other !== rank) lose(other, killed(rank))
      for (const inbox of own) inbox.break(killed(rank))
    }
    return {
      rank,
      worldSize,
      send: async (to, tag, { dtype, bytes }) => {
        check(to)
        bytesSent += frameHeaderBytes + bytes.length
        const copy = { dtype, bytes: new Uint8Array(bytes) }
        arrive(to, () => inboxes[to][rank].put(tag, copy))
      },
      receive: (from, tag) => own[from].take(tag),
      sendControl: async (to, message) => {
        check(to)
        bytesSent += frameHeaderBytes
        arrive(to, () => queues[to].message(rank, message))
      },
      onControl: (receiver) => queues[rank].receive(receiver),
      get bytesSent() {
        return bytesSent
      },
      forgetJob: (job) => {
        for (const inbox of own) inbox.forget(job)
      },
      close: async () => kill(),
      kill,
    }
  })
}
