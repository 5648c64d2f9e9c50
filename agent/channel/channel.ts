/** What a collective and the job protocol need of the links between the ranks of one ring epoch. */
import { type Dtype, dtypes, type FrameTag } from '../../shared/wire/frame.ts'
import type { RingControl } from '../../shared/wire/envelope.ts'

/** All ranks but this one, in order. */
export const othersOf = ({ rank, worldSize }: Pick<TensorChannel, 'rank' | 'worldSize'>): number[] =>
  Array.from({ length: worldSize }, (_, other) => other).filter((other) => other !== rank)

/** Bytes that are no tensor, as they travel. */
export const payloadOf = (bytes: Uint8Array): Payload => ({ dtype: dtypes.bytes, bytes })

export interface Payload {
  readonly dtype: Dtype
  /** Aligned to 4 bytes at least. */
  readonly bytes: Uint8Array
  /**
   * Gives the memory of a frame that came back to the channel, once; `bytes` may not be read after it. May be left out.
   */
  release?(): void
}

/**
 * Ordered, reliable, encrypted links between the ranks of one ring epoch, for tensors alone: what a collective needs.
 *
 * Frames carry tags, so a frame that comes before it is asked for is kept (within `limits.earlyFrameBytes`), and one
 * of another epoch is refused. A link that breaks rejects everything that waits for tensors, at once and from any
 * rank: without one rank an epoch computes nothing. Control messages between the others still pass.
 */
export interface TensorChannel {
  readonly rank: number
  readonly worldSize: number

  /**
   * Sends one tensor frame. `bytes` may be reused once the promise settles.
   * Resolves when the link took it over (back-pressure), not when it arrived.
   * @throws MeshError `peerLost` | `collectiveTimeout` (the rank reads nothing for the step deadline)
   */
  send(to: number, tag: FrameTag, payload: Payload): Promise<void>

  /**
   * The tensor frame with that tag.
   * @throws MeshError `peerLost` | `collectiveTimeout` (names the rank; after the step deadline) | `frameInvalid`
   */
  receive(from: number, tag: FrameTag): Promise<Payload>

  /** Bytes sent so far, headers included. */
  readonly bytesSent: number

  /** Forgets frames kept for that job; frames for it that come later are dropped. */
  forgetJob(job: number): void

  close(): Promise<void>
}

/**
 * Links that carry control messages too. Implemented over libp2p by `network/ring-channel.ts`; tests put an in-memory
 * one here.
 */
export interface Channel extends TensorChannel {
  /** Sends a control message, in order with the tensor frames. @throws MeshError `peerLost` */
  sendControl(to: number, message: RingControl): Promise<void>

  /**
   * Registers the one receiver of control messages; those that came earlier are delivered first.
   * `lost` is called once for each link that breaks.
   */
  onControl(receiver: {
    message(from: number, message: RingControl): void
    lost(from: number, error: Error): void
  }): void
}
