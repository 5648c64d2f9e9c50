/** What the generation loop sees of the sharded model. */
import type { SequenceStep } from '../../shared/wire/envelope.ts'

export interface StepInput {
  readonly job: number
  readonly step: number
  readonly sequences: readonly SequenceStep[]
}

/** Logits of one wanted row: f32 [own vocabulary columns], of this rank alone. */
export interface RowLogits {
  readonly slot: number
  /** Index in the context of the token that the row belongs to; the logits are for the one after it. */
  readonly position: number
  readonly logits: Float32Array
}

export interface StepTimes {
  readonly computeMs: number
  readonly collectiveMs: number
}

/**
 * One rank of the model. Every rank of a ring calls `step` with the same input; the all-reduces inside keep them
 * together. Steps of one engine never overlap.
 */
export interface Engine {
  readonly vocabStart: number
  readonly contextLength: number
  /** @throws MeshError `peerLost` | `collectiveTimeout` | `backendFailed` */
  step(input: StepInput): Promise<{ readonly rows: readonly RowLogits[]; readonly times: StepTimes }>
  /** Gives up what is awaited for a job, and drops what still comes for it; for engines that hold links of their own. */
  forget?(job: number): void
  /** Forgets a sequence. */
  release(slot: number): Promise<void>
  close(): Promise<void>
}
