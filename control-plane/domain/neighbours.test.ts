import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RingMember } from '../../shared/schema/ring.ts'
import { neighbours } from './neighbours.ts'

const ring = (...names: string[]): RingMember[] => names.map((deviceId) => ({ deviceId }) as RingMember)

test('neighbours: those before and behind, around the ring', () => {
  const three = ring('a', 'b', 'c')
  assert.deepEqual(
    [0, 1, 2].map((rank) => neighbours(three, rank)),
    [
      { leftNeighbor: 'c', rightNeighbor: 'b' },
      { leftNeighbor: 'a', rightNeighbor: 'c' },
      { leftNeighbor: 'b', rightNeighbor: 'a' },
    ],
  )
  assert.deepEqual(neighbours(ring('a', 'b'), 0), { leftNeighbor: 'b', rightNeighbor: 'b' })
  assert.deepEqual(neighbours(ring('a'), 0), { leftNeighbor: 'a', rightNeighbor: 'a' })
})
