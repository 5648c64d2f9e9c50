import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Span } from './backend.ts'
import { laneAlignment, lanesOf } from './lanes.ts'

const steps = fc
  .array(fc.record({ count: fc.integer({ min: 1, max: 90 }), position: fc.integer({ min: 0, max: 500 }) }), {
    minLength: 1,
    maxLength: 8,
  })
  .map((sequences) => {
    let start = 0
    return sequences.map(({ count, position }, slot): Span => ({
      slot,
      start: (start += count) - count,
      count,
      position,
    }))
  })

/** What each row is: sequence and place in it. */
const rowsOf = (spans: readonly Span[]): string[] =>
  spans.flatMap(({ slot, start, count, position }) =>
    Array.from({ length: count }, (_, i) => `${start + i}: ${slot} at ${position + i}`),
  )

test('lanes hold every row once, in order, and begin where memory is aligned', () => {
  fc.assert(
    fc.property(steps, fc.integer({ min: 2, max: 300 }), (spans, minimum) => {
      const rows = spans.reduce((sum, { count }) => sum + count, 0)
      const lanes = lanesOf(spans, rows, minimum)
      assert.deepEqual(
        lanes.flatMap((lane) => rowsOf(lane.spans)),
        rowsOf(spans),
      )
      for (const lane of lanes) {
        assert.equal(lane.start % laneAlignment, 0)
        assert.equal(lane.spans[0].start, lane.start)
        assert.equal(
          lane.spans.reduce((sum, { count }) => sum + count, 0),
          lane.count,
        )
      }
      assert.equal(lanes.length, rows >= minimum && rows > laneAlignment ? 2 : 1)
    }),
  )
})

test('a step of 256 rows is cut in the middle, one of few rows not at all', () => {
  const whole = [{ slot: 3, start: 0, count: 256, position: 512 }]
  assert.deepEqual(
    lanesOf(whole, 256).map(({ start, count, spans }) => ({ start, count, position: spans[0].position })),
    [
      { start: 0, count: 128, position: 512 },
      { start: 128, count: 128, position: 640 },
    ],
  )
  assert.equal(lanesOf([{ slot: 0, start: 0, count: 64, position: 0 }], 64).length, 1)
})
