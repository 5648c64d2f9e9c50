/**
 * What runs the matrices of one rank. A backend holds the rank's shard and its part of the KV cache; it knows neither
 * other ranks nor sampling. `contract.ts` is the suite that every backend must pass.
 */
import type { ModelShape, Quant } from '../../shared/schema/model.ts'
import type { RankRanges } from '../../shared/schema/ring.ts'
import type { ModelSpec } from '../model/architecture/model-spec.ts'
import type { ShardFile } from '../model/shard-cache.ts'

/** Consecutive rows of one sequence: row `start + i` of the batch is the token at `position + i` of `slot`. */
export interface Span {
  readonly slot: number
  readonly start: number
  readonly count: number
  readonly position: number
  /** Positions that the sequence may reach, the same in all of its steps; absent: the context. */
  readonly planned?: number
}

/** Buffers that the backend's thread and this one share; valid until `buffers` is asked for more rows. */
export interface Buffers {
  /** Residual stream, f32 [rows, hidden]: written by the caller. */
  readonly hidden: Float32Array
  /** This rank's part of the result of a half layer, f32 [rows, hidden]: written by the backend. */
  readonly partial: Float32Array
  /** f32 [rows, own vocabulary columns]: written by the backend. */
  readonly logits: Float32Array
}

export interface BackendOptions {
  readonly spec: ModelSpec
  /** Its context is that which every rank has memory for. */
  readonly shape: ModelShape
  readonly ranges: RankRanges
  readonly quant: Quant
  readonly threads: number
  /** Milliseconds that the compute thread or process looks for its next command before it sleeps. Default: 0, it sleeps at once. */
  readonly spinMs?: number
  readonly shard: ShardFile
}

export interface Backend {
  readonly name: string
  /** For people: library, device, threads. */
  readonly description: string
  /** Buffers for at least `rows` rows. The first call of a step: a backend that died starts again here. */
  buffers(rows: number): Promise<Buffers>
  /**
   * Attention half of a layer: normalises `hidden`, projects own heads, rotates, appends k and v of the rows to the
   * cache of their slot, attends causally over each slot, and writes the own part of the o projection to `partial`.
   * A rank without heads writes zeros. The spans lie one behind another; they may be a part of a step, when another
   * part runs in turn with it (`lanes.ts`): then they begin at a multiple of `laneAlignment`.
   */
  attention(layer: number, spans: readonly Span[]): Promise<void>
  /** MLP half of the rows from `firstRow` on: `partial` becomes the own part of down(silu(gate(norm(hidden))) * up(norm(hidden))). */
  feedForward(layer: number, rows: number, firstRow?: number): Promise<void>
  /** All layers of a rank that holds the whole model, residual additions included; the result is in `hidden`. */
  layers(spans: readonly Span[], rows: number): Promise<void>
  /** Final norm and own columns of the LM head of rows 0..rows-1 of `hidden`, into `logits`. */
  head(rows: number): Promise<void>
  /** Frees the cache of a sequence, or of all. */
  release(slot: number | 'all'): Promise<void>
  close(): Promise<void>
}
