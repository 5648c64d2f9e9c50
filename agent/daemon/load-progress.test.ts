/** One bar for all phases of loading. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import type { LoadPhase } from '../../shared/schema/ring.ts'
import { fractionOf } from './load-progress.ts'

it('each phase fills its part of the bar, and one without bytes is over', () => {
  const at = (phase: LoadPhase, bytes: number, totalBytes = 100): number =>
    Math.round(1e6 * fractionOf({ phase, bytes, totalBytes })) / 1e6
  assert.deepEqual(
    [at('checking', 0), at('checking', 50), at('checking', 100), at('checking', 250)],
    [0, 0.1, 0.2, 0.2],
  )
  assert.deepEqual([at('cutting', 0), at('quantising', 50), at('cutting', 100)], [0.2, 0.45, 0.7])
  assert.deepEqual([at('hashing', 0), at('hashing', 100), at('loading', 50)], [0.7, 0.75, 0.875])
  assert.deepEqual([at('linking', 0), at('linking', 0, 0), at('cutting', 0, 0), at('checking', 1, 1)], [1, 1, 0.7, 0.2])
})
