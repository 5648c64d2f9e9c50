/** What the agent's main thread asks of the thread or process that computes: one command at a time. */
import type { Buffers, Span } from '../engine/backend.ts'
import type { Runner } from '../engine/runner.ts'

export const operations = {
  attention: 1,
  feedForward: 2,
  head: 3,
  layers: 4,
  release: 5,
  releaseAll: 6,
  buffers: 7,
  close: 8,
  crash: 9,
  threads: 10,
} as const
export type Operation = (typeof operations)[keyof typeof operations]

export interface Command {
  readonly operation: Operation
  readonly layer: number
  readonly rows: number
  /** Where the rows begin in `Buffers`; spans count from the start of the buffers too. */
  readonly firstRow: number
  readonly slot: number
  readonly spans: readonly Span[]
}

/** Words (i32) before the spans: operation, layer, rows, first row, slot, number of spans. */
const headWords = 6
const spanWords = 5
/** Sequences in one step. */
const maxSpans = 64
export const commandWords = headWords + spanWords * maxSpans

/** Writes a command into words. @returns how many were used */
export const writeCommand = (words: Int32Array, { operation, layer, rows, firstRow, slot, spans }: Command): number => {
  if (spans.length > maxSpans) throw new RangeError(`${spans.length} sequences in a step, ${maxSpans} at most`)
  words.set([operation, layer, rows, firstRow, slot, spans.length])
  for (const [index, span] of spans.entries())
    words.set([span.slot, span.start, span.count, span.position, span.planned ?? 0], headWords + spanWords * index)
  return headWords + spanWords * spans.length
}

export const readCommand = (words: Int32Array): Command => {
  const spans: Span[] = []
  for (let index = 0; index < words[5]; index++) {
    const [slot, start, count, position, planned] = words.subarray(headWords + spanWords * index)
    spans.push({ slot, start, count, position, ...(planned > 0 && { planned }) })
  }
  return {
    operation: words[0] as Operation,
    layer: words[1],
    rows: words[2],
    firstRow: words[3],
    slot: words[4],
    spans,
  }
}

/** All layers of a ring of one: nothing lies between the half layers, so no hand-over either. */
const runLayers = async (runner: Runner, { spans, rows }: Command, buffers: Buffers): Promise<void> => {
  const [hidden, partial] = [buffers.hidden, buffers.partial].map((all) => all.subarray(0, rows * runner.hidden))
  for (const half of runner.residual.halves) {
    if (half.half === 'attention') await runner.attention(half.layer, spans, buffers, 0)
    else await runner.feedForward(half.layer, rows, buffers, 0)
    runner.residual.add(half, hidden, partial)
  }
}

/** Carries out any command but `buffers`, which depends on how memory is shared. */
export const execute = async (runner: Runner, command: Command, buffers: Buffers): Promise<void> => {
  switch (command.operation) {
    case operations.attention:
      return runner.attention(command.layer, command.spans, buffers, command.firstRow)
    case operations.feedForward:
      return runner.feedForward(command.layer, command.rows, buffers, command.firstRow)
    case operations.layers:
      return runLayers(runner, command, buffers)
    case operations.head:
      return runner.head(command.rows, buffers)
    case operations.release:
      return runner.release(command.slot)
    case operations.releaseAll:
      return runner.releaseAll()
    case operations.threads:
      return runner.useThreads?.(command.rows)
    case operations.close:
      return runner.close()
    default:
      throw new Error(`unknown operation ${command.operation}`)
  }
}
