/** The bytes of small shapes, counted by hand. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ModelShape } from '../schema/model.ts'
import type { RankRanges } from '../schema/ring.ts'
import { bytesPerToken, leastRankBytes, planWithin, rankBytes, runtimeBytes, weightBytes } from './shard-memory.ts'
import { apportion, planShards } from './shard-plan.ts'
import { limits } from '../limits.ts'

const shape: ModelShape = {
  layers: 2,
  hidden: 64,
  heads: 4,
  kvHeads: 2,
  headDim: 32,
  ffn: 96,
  vocab: 160,
  context: 100,
}
const [whole] = planShards(shape, [1])
/** Each matrix begins at a page and ends in one that it may share with nothing. */
const edges = 2 * 4096
/** Two norms a layer and one at the end, each f32 in a page of its own. */
const norms = 5 * (64 * 4 + 4096)

test('bytes: matrices of a whole model, in each quantisation', () => {
  const f32 = 2 * (4 * edges + 4 * (256 * 64 + 64 * 128 + 192 * 64 + 64 * 96)) + norms + edges + 4 * 160 * 64
  assert.equal(weightBytes(shape, 'f32', whole), f32)
  // 36 bytes for 32 weights: two blocks in a row of 64, four in one of 128, three in one of 96
  const q8 = 2 * (4 * edges + 36 * (256 * 2 + 64 * 4 + 192 * 2 + 64 * 3)) + norms + edges + 36 * 160 * 2
  assert.equal(weightBytes(shape, 'q8', whole), q8)
  // 20 bytes for 32; the row of 96 may lie in a block of 128, which takes 68
  const q4 = 2 * (4 * edges + 20 * (256 * 2 + 64 * 4 + 192 * 2) + 68 * 64) + norms + edges + 20 * 160 * 2
  assert.equal(weightBytes(shape, 'q4', whole), q4)
})

test('bytes: columns that begin inside of a block of 128 take the whole of each block that they touch', () => {
  const nothing = { start: 0, end: 0 }
  const only = (start: number, end: number): RankRanges => ({
    heads: nothing,
    kvHeads: nothing,
    vocab: nothing,
    ffn: { start, end },
  })
  const bytes = (start: number, end: number): number => weightBytes(shape, 'q4', only(start, end))
  // 96 to 192 touches two blocks: 136 bytes a row; 128 to 224 touches one, and three of 32 would take 60 alone
  assert.equal(bytes(96, 192) - norms, 2 * (2 * edges + 20 * 192 * 2 + 136 * 64))
  assert.equal(bytes(128, 224) - norms, 2 * (2 * edges + 20 * 192 * 2 + 68 * 64))
  // four whole blocks of 32 are larger than one of 128
  assert.equal(bytes(0, 128) - norms, 2 * (2 * edges + 20 * 256 * 2 + 80 * 64))
  assert.equal(bytes(0, 0), norms, 'what is not held takes nothing')
})

test('bytes: cache, masks and activations', () => {
  // keys and values of two layers and two heads as f32; 256 rows of a mask
  assert.equal(bytesPerToken(shape, whole), 2 * 2 * 32 * 2 * 4 + 256 * 4)
  const step = 4 * (256 * (8 * 64 + 3 * 32 * (4 + 2 * 2) + 3 * 96) + 4 * 160)
  const weights = weightBytes(shape, 'f32', whole)
  assert.equal(rankBytes(shape, 'f32', whole, 0), runtimeBytes + weights + step)
  assert.equal(rankBytes(shape, 'f32', whole, 10), runtimeBytes + weights + step + 10 * bytesPerToken(shape, whole))
})

test('bytes: the least that a rank takes is one block of the MLP, or all of a smaller one', () => {
  const least = (columns: number): number =>
    runtimeBytes + 2 * (2 * edges + 4 * (2 * columns * 64 + 64 * columns)) + norms + 4 * 256 * (8 * 64 + 3 * columns)
  assert.equal(leastRankBytes(shape, 'f32'), least(32))
  assert.equal(leastRankBytes({ ...shape, ffn: 16 }, 'f32'), least(16))
})

test('plan within room: a refusal tells what the fullest rank lacks when columns follow the room', () => {
  const large = { ...shape, hidden: 4096, ffn: 14336, layers: 32, vocab: 32000, context: 4096 }
  const rooms = [1e9, 4e9]
  const plan = planWithin(
    large,
    'f32',
    rooms.map((roomBytes) => ({ share: 1, roomBytes })),
  )
  assert.ok(!plan.fits)
  const last = planShards(
    large,
    rooms.map((room) => room - runtimeBytes),
  )
  const needs = last.map((ranges) => rankBytes(large, 'f32', ranges, 2048))
  assert.equal(plan.rank, 1)
  assert.equal(plan.needsBytes, needs[1])
  assert.equal(plan.lacksBytes, needs[1] - rooms[1])
})

test('plan within room: the context is cut to what the rank with least room can hold, to the token', () => {
  const long = { ...shape, context: 32_768 }
  const halves = planShards(long, [1, 1])
  const roomFor = (rank: number, context: number): number => rankBytes(long, 'q8', halves[rank], context)
  const plan = planWithin(long, 'q8', [
    { share: 1, roomBytes: roomFor(0, 30_000) },
    { share: 1, roomBytes: roomFor(1, 20_000) + bytesPerToken(long, halves[1]) - 1 },
  ])
  assert.ok(plan.fits)
  assert.equal(plan.context, 20_000)
  assert.deepEqual(plan.bytes, [roomFor(0, 20_000), roomFor(1, 20_000)])
})

test('plan: as many ranks as a ring may have, and one more', () => {
  const ranks = (count: number): number[] => Array.from({ length: count }, () => 1)
  assert.equal(planShards(shape, ranks(limits.worldSize)).length, limits.worldSize)
  assert.throws(() => planShards(shape, ranks(limits.worldSize + 1)), { code: 'planImpossible' })
})

test('apportion: where nobody weighs anything the first takes all', () => {
  assert.deepEqual(apportion(5, [0, 0, 0]), [5, 0, 0])
  assert.deepEqual(apportion(5, [0, 1, 1]), [0, 3, 2])
})
