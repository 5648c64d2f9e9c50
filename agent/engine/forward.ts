/**
 * The sharded forward pass of one rank, as in Megatron-LM: every rank holds the whole residual stream; each half layer
 * yields a partial result that is summed over the ranks and added to it. Logits stay split by vocabulary.
 *
 * The embedding is not split: a row costs one positional read of 2 * hidden bytes from the model file, while a split
 * one would cost a third kind of all-reduce per step. Only the LM head is split by vocabulary.
 */
import { MeshError } from '../../shared/errors.ts'
import { sizeOf } from '../../shared/plan/shard-plan.ts'
import type { ModelShape } from '../../shared/schema/model.ts'
import type { RankRanges } from '../../shared/schema/ring.ts'
import type { SequenceStep } from '../../shared/wire/envelope.ts'
import type { Collective } from '../collective/collective.ts'
import type { Backend, Span } from './backend.ts'
import type { Engine, RowLogits, StepInput, StepResult } from './engine.ts'
import { type Lane, lanesOf } from './lanes.ts'
import type { Half, Residual } from './residual.ts'
import { createSight } from './sight.ts'
import { StepTimer } from './step-timer.ts'

export interface ForwardOptions {
  readonly shape: ModelShape
  readonly ranges: RankRanges
  readonly backend: Backend
  readonly collective: Collective
  readonly residual: Residual
  /** Writes the embedding rows of the tokens into f32 [tokens, hidden]. */
  readonly embed: (tokens: readonly number[], into: Float32Array) => void
  /** Rows from which a step runs in two lanes; the same on every rank. Default: `laneRows`. */
  readonly laneRows?: number
  /** Milliseconds, monotonic. */
  readonly clock?: () => number
}

/** A row whose logits are wanted. */
interface WantedRow {
  readonly row: number
  readonly slot: number
  readonly position: number
}

const spansOf = (sequences: readonly SequenceStep[]): Span[] => {
  let start = 0
  return sequences.map(({ slot, position, tokens, planned }) => {
    const span = { slot, start, count: tokens.length, position, planned }
    start += tokens.length
    return span
  })
}

const wantedRows = (sequences: readonly SequenceStep[], spans: readonly Span[]): WantedRow[] =>
  sequences.flatMap(({ logits }, index) => {
    const { slot, start, count, position } = spans[index]
    const first = logits === 'all' ? 0 : logits === 'last' ? count - 1 : count
    return Array.from({ length: count - first }, (_, i) => ({
      row: start + first + i,
      slot,
      position: position + first + i,
    }))
  })

/** @throws MeshError `frameInvalid` | `promptTooLong` */
const checkSequences = (sequences: readonly SequenceStep[], shape: ModelShape): void => {
  for (const { position, tokens } of sequences) {
    if (tokens.length === 0) throw new MeshError('frameInvalid', { problem: 'a sequence without tokens' })
    if (position + tokens.length > shape.context)
      throw new MeshError('promptTooLong', { tokens: position + tokens.length, context: shape.context })
    const stranger = tokens.find((token) => token >= shape.vocab)
    if (stranger !== undefined)
      throw new MeshError('frameInvalid', { problem: `token ${stranger} in a vocabulary of ${shape.vocab}` })
  }
}

/** What a step comes to, for all who take part in it. */
export interface StepPlan {
  readonly spans: readonly Span[]
  /** Of all spans. */
  readonly rows: number
  readonly tokens: readonly number[]
  readonly wanted: readonly WantedRow[]
}

/** @throws MeshError `frameInvalid` | `promptTooLong` */
export const planStep = ({ sequences }: StepInput, shape: ModelShape): StepPlan => {
  checkSequences(sequences, shape)
  const spans = spansOf(sequences)
  return {
    spans,
    rows: spans.reduce((sum, { count }) => sum + count, 0),
    tokens: sequences.flatMap(({ tokens }) => tokens),
    wanted: wantedRows(sequences, spans),
  }
}

/** The logits of the wanted rows, which lie one behind another. */
export const rowLogits = ({ wanted }: StepPlan, logits: Float32Array, ranges: RankRanges): RowLogits[] => {
  const columns = sizeOf(ranges.vocab)
  return wanted.map(({ slot, position }, index) => ({
    slot,
    position,
    logits: logits.subarray(index * columns, (index + 1) * columns),
  }))
}

export const createForward = (options: ForwardOptions): Engine => {
  const { shape, ranges, backend, collective, embed, residual: sums } = options
  const clock = options.clock ?? (() => performance.now())

  const step = async (input: StepInput): Promise<StepResult> => {
    const { job, step: number } = input
    const plan = planStep(input, shape)
    const { spans, rows, wanted } = plan
    const { hidden, partial, logits } = await backend.buffers(rows)
    const rowsIn = (data: Float32Array, { start, count }: Pick<Lane, 'start' | 'count'>): Float32Array =>
      data.subarray(start * shape.hidden, (start + count) * shape.hidden)
    const timer = new StepTimer(clock)
    const sight = input.watch && createSight(input.watch, shape.hidden)
    const reduce = async (lane: Lane, half: Half, operation: number): Promise<void> => {
      const part = rowsIn(partial, lane)
      const residual = rowsIn(hidden, lane)
      await collective.allReduce(part, { job, step: number, operation }, sight?.look(half, lane, residual))
      sums.add(half, residual, part)
    }
    const sharded = async (): Promise<void> => {
      const lanes = lanesOf(spans, rows, options.laneRows)
      /** The sum of each lane that is on its way: the lane goes on when it has come. */
      const onTheWay = lanes.map(() => Promise.resolve())
      for (const [index, half] of sums.halves.entries()) {
        for (const [turn, lane] of lanes.entries()) {
          await timer.wait(onTheWay[turn])
          await timer.compute(() =>
            half.half === 'attention'
              ? backend.attention(half.layer, lane.spans)
              : backend.feedForward(half.layer, lane.count, lane.start),
          )
          onTheWay[turn] = timer.begin(() => reduce(lane, half, index * lanes.length + turn))
        }
      }
      for (const sum of onTheWay) await timer.wait(sum)
    }

    embed(plan.tokens, rowsIn(hidden, { start: 0, count: rows }))
    if (collective.worldSize === 1) await timer.compute(() => backend.layers(spans, rows))
    else await sharded()

    // Wanted rows move to the front: each one comes from at or behind its new place, so none is overwritten early.
    for (const [index, { row }] of wanted.entries())
      if (row !== index) hidden.copyWithin(index * shape.hidden, row * shape.hidden, (row + 1) * shape.hidden)
    if (wanted.length > 0) await timer.compute(() => backend.head(wanted.length))
    return {
      rows: rowLogits(plan, logits, ranges),
      times: timer.times,
      seen: sight?.seen,
    }
  }

  return {
    vocabStart: ranges.vocab.start,
    contextLength: shape.context,
    step,
    release: (slot) => backend.release(slot),
    close: () => backend.close(),
  }
}
