import type { LinkPeer } from './tls-sockets.ts'

/** What a rank needs to link to all others. */
export interface LinkPlan {
  readonly rank: number
  readonly epoch: number
  /** Of every rank, for errors. */
  readonly names: readonly string[]
  readonly peers: readonly LinkPeer[]
  /** Milliseconds until all must be linked. */
  readonly connectMs: number
  /** Milliseconds that a rank may let a frame wait. */
  readonly stepTimeoutMs: number
}
