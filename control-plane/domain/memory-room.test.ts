import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type MemoryFacts, roomOf } from './memory-room.ts'

const GB = 1e9
const base: MemoryFacts = {
  lock: { phase: 'locked', memoryBytes: 10 * GB },
  machineBytes: 64 * GB,
  missingBytes: 0,
  heldHereBytes: 0,
  heldElsewhereBytes: 0,
}

const table: readonly [name: string, change: Partial<MemoryFacts>, wantGB: number][] = [
  ['a lock without its buffer', {}, 9.3],
  ['what other rings hold is taken', { heldElsewhereBytes: 4 * GB }, 5.3],
  ['what this ring holds is planned anew', { heldHereBytes: 4 * GB }, 9.3],
  ['a lock that cools still holds', { lock: { phase: 'cooling', memoryBytes: 10 * GB } }, 9.3],
  ['no lock: the machine', { lock: undefined }, 59.52],
  ['a lock that ended: the machine', { lock: { phase: 'released', memoryBytes: 0 } }, 59.52],
  ['degraded: what it has', { missingBytes: 1, heldHereBytes: 3 * GB }, 3],
  ['degraded and new: nothing', { missingBytes: 1 }, 0],
  ['degraded, and locked less since', { missingBytes: 1, heldHereBytes: 20 * GB }, 9.3],
  ['more elsewhere than is locked', { heldElsewhereBytes: 20 * GB }, 0],
]

for (const [name, change, wantGB] of table) {
  test(`room: ${name}`, () => assert.ok(Math.abs(roomOf({ ...base, ...change }) / GB - wantGB) < 1e-6))
}
