/** What of a shard is as in the file, and what is not, in words. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HeldMatrices } from '../../shared/schema/model.ts'
import { heldText, reblockedText, typesText } from './held-text.ts'

/** @param types in the file, and in the shard */
const held = (part: string, types: readonly [string, string], matrices: number, bytes: number): HeldMatrices => ({
  part,
  fileType: types[0],
  heldType: types[1],
  matrices,
  bytes,
})

const mixed = [
  held('attention.q', ['Q4_K', 'Q4_K'], 8, 1e6),
  held('attention.o', ['Q4_K', 'Q4_1'], 8, 2e6),
  held('mlp.experts.down', ['Q6_K', 'Q8_0'], 1, 3e6),
  held('mlp.gate', ['Q4_K', 'Q4_K'], 8, 4e6),
  held('head', ['Q6_K', 'Q6_K'], 1, 5e6),
]

test('held: types of the file with what has them, and what was re-blocked, each with its bytes', () => {
  assert.equal(heldText(mixed), 'Q4_K: q, gate, 5 MB; Q6_K: head, 5 MB')
  assert.equal(
    reblockedText(mixed),
    'o from Q4_K to Q4_1 in 8 matrices, 2 MB; experts.down from Q6_K to Q8_0 in 1 matrix, 3 MB; 5 MB in all',
  )
  assert.equal(typesText(mixed), 'Q4_K, Q6_K, 9 re-blocked')
})

test('held: nothing is said to be nothing, and one sum is not told twice', () => {
  const kept = mixed.filter(({ fileType, heldType }) => fileType === heldType)
  assert.equal(reblockedText(kept), 'nothing')
  assert.equal(typesText(kept), 'Q4_K, Q6_K')
  assert.equal(heldText([mixed[1]]), 'nothing')
  assert.equal(reblockedText([mixed[1]]), 'o from Q4_K to Q4_1 in 8 matrices, 2 MB')
})
