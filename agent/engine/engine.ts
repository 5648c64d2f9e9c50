/** What the generation loop sees of the sharded model. */
import type { SequenceStep } from '../../shared/wire/envelope.ts'
import type { WireType } from '../collective/wire-types.ts'

/** An MLP half whose parts are wanted: of one row of a step. */
export interface Watch {
  readonly layer: number
  /** In the whole step. */
  readonly row: number
}

export interface StepInput {
  readonly job: number
  readonly step: number
  readonly sequences: readonly SequenceStep[]
  /** The job that it is for, as the control plane names it. */
  readonly jobId?: string
  readonly watch?: Watch
}

/** What a rank saw of a watched half: what went in, and what each other rank says it gives. */
export interface Seen {
  readonly layer: number
  /** The residual before the half, f32 [hidden]: the same on every rank. */
  readonly x: Float32Array
  /** By rank, f32 [hidden]; those that did not arrive one by one are absent. */
  readonly parts: ReadonlyMap<number, Float32Array>
  /** How they travelled. */
  readonly wire: WireType
}

export interface StepResult {
  readonly rows: readonly RowLogits[]
  readonly times: StepTimes
  /** Where the step was watched, and parts arrived one by one. */
  readonly seen?: Seen
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
  step(input: StepInput): Promise<StepResult>
  /**
   * Gives up what is awaited for a job, and drops what still comes for it; for engines that hold links of their own.
   */
  forget?(job: number): void
  /** Forgets a sequence. */
  release(slot: number): Promise<void>
  close(): Promise<void>
}
