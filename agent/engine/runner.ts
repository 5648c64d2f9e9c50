/** What runs the kernels of a backend, in whatever thread or process it computes. */
import type { Buffers, Span } from './backend.ts'
import type { Residual } from './residual.ts'

/** What a backend implements where it computes. A method may be synchronous. */
export interface Runner {
  readonly hidden: number
  readonly residual: Residual
  /** The spans begin at row `firstRow`, which also tells the parts of a step apart. */
  attention(layer: number, spans: readonly Span[], buffers: Buffers, firstRow: number): Promise<void> | void
  feedForward(layer: number, rows: number, buffers: Buffers, firstRow: number): Promise<void> | void
  head(rows: number, buffers: Buffers): Promise<void> | void
  release(slot: number): void
  releaseAll(): void
  /** Threads of what follows; absent where they are fixed when it loads. */
  useThreads?(count: number): void
  close(): Promise<void> | void
}
