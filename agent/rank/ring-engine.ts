/**
 * The engine of one rank of a ring, over whatever carries its sums: sockets where the compute processes hold them
 * (`open-links.ts`), else the streams of libp2p. Rank 0 says which when a job starts.
 */
import { setTimeout as after } from 'node:timers/promises'
import { MeshError } from '../../shared/errors.ts'
import type { AdjustableCollective, CollectiveSettings } from '../collective/chooser.ts'
import type { Engine } from '../engine/engine.ts'
import type { LinkHost } from '../links/link-host.ts'

export interface RingEngineOptions {
  /** Sums over the streams. */
  readonly forward: Engine
  /** Absent in a ring of one. */
  readonly collective: AdjustableCollective | undefined
  /** Its sockets are open; absent where they could not be opened. */
  readonly links: LinkHost | undefined
}

export interface RingEngine extends Engine {
  /** From the next step on; every rank must use the same. */
  use(settings: CollectiveSettings): void
  /** True while sums can go over sockets. */
  readonly hasSockets: boolean
  /** Gives up the sockets for the rest of the epoch. */
  dropSockets(): void
  /** Fails the step that runs. */
  break(error: MeshError): void
  readonly bytesSent: number
}

/**
 * A socket ends at once when the process at its other end dies; why it died comes over the stream a moment later, and
 * is what people want to read.
 */
const reasonMs = 500

export const createRingEngine = ({ forward, collective, links: opened }: RingEngineOptions): RingEngine => {
  let links = opened
  let current: Engine = forward
  const drop = (): void => {
    void links?.close()
    links = undefined
    current = forward
  }
  return {
    vocabStart: forward.vocabStart,
    contextLength: forward.contextLength,
    step: async (input) => {
      try {
        return await current.step(input)
      } catch (error) {
        if (current !== forward && error instanceof MeshError && error.code === 'peerLost') await after(reasonMs)
        throw error
      }
    },
    forget: (job) => current.forget?.(job),
    release: (slot) => forward.release(slot),
    close: () => forward.close(),
    use: (settings) => {
      if (settings.carrier !== 'sockets') {
        drop()
        return collective?.use(settings)
      }
      if (!links) throw new MeshError('frameInvalid', { problem: 'rank 0 wants sockets, and none are open here' })
      links.use(settings)
      current = links.engine
    },
    get hasSockets() {
      return links !== undefined
    },
    dropSockets: drop,
    break: (error) => links?.break(error),
    get bytesSent() {
      return opened?.bytesSent ?? 0
    },
  }
}
