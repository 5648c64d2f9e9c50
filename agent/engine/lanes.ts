/**
 * A step in two lanes, so that the all-reduce of one lane's half layer travels while the other lane computes: both
 * processor and network stay busy through a prefill (Wang et al., "Domino", 2024, cut the batch; here the rows of one
 * prompt are cut). Attention allows it because keys and values of the first lane are in the cache before the second
 * lane of the same layer runs.
 */
import type { Span } from './backend.ts'

/** Rows of a step that go through the layers together. */
export interface Lane {
  readonly start: number
  readonly count: number
  readonly spans: readonly Span[]
}

/** A lane begins at a multiple of this many rows: backends may want aligned memory. */
export const laneAlignment = 32

/** Rows from which two lanes pay: matrices need some rows to be run well. */
export const laneRows = 96

/** The part of a span that lies in rows `from` to `to`; none when it lies outside. */
const part = (span: Span, from: number, to: number): Span[] => {
  const start = Math.max(span.start, from)
  const end = Math.min(span.start + span.count, to)
  return start < end ? [{ ...span, start, count: end - start, position: span.position + start - span.start }] : []
}

/** One lane, or two from `minimum` rows on. Depends on what every rank knows, so that all cut alike. */
export const lanesOf = (spans: readonly Span[], rows: number, minimum: number = laneRows): Lane[] => {
  const cut = Math.ceil(rows / 2 / laneAlignment) * laneAlignment
  if (rows < minimum || cut >= rows) return [{ start: 0, count: rows, spans }]
  return [
    [0, cut],
    [cut, rows],
  ].map(([from, to]) => ({ start: from, count: to - from, spans: spans.flatMap((span) => part(span, from, to)) }))
}
