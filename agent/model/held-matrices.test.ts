/** Shards that keep the bits of their file: what they say that they hold is what lies there, and what was planned. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { weightBytes } from '../../shared/plan/shard-memory.ts'
import { planShards } from '../../shared/plan/shard-plan.ts'
import type { ModelShape } from '../../shared/schema/model.ts'
import { ggmlComes } from '../engine/test/platform.ts'
import { readFolder, writeMixture } from './gguf/test/convert.ts'
import { type Model, openModel } from './model-folder.ts'
import { writeRandomModel } from './random-model.ts'
import { loadShard, type ShardFile } from './shard-cache.ts'
import { listShards } from './shard-store.ts'

const folder = mkdtempSync(join(tmpdir(), 'mesh-held-'))
after(() => rmSync(folder, { recursive: true, force: true }))

/** Columns of o are 64 for each of four heads and those of the MLP 768: cuts lie inside of blocks of 256. */
const shape: ModelShape = {
  layers: 8,
  hidden: 256,
  heads: 8,
  kvHeads: 4,
  headDim: 32,
  ffn: 768,
  vocab: 300,
  context: 64,
}

const write = (dtype: 'F32' | 'F16' | 'BF16'): string => {
  const place = join(folder, dtype)
  writeRandomModel(place, { shape, tied: false, dtype, seed: 3 })
  return place
}

/** Shards of all ranks; nothing of it may be called quantising. */
const cut = async (model: Model, shares: readonly number[]): Promise<ShardFile[]> => {
  const phases = new Set<string>()
  const shards: ShardFile[] = []
  for (const ranges of planShards(model.about.shape, shares)) {
    const cacheFolder = join(folder, 'shards')
    const onProgress = ({ phase }: { readonly phase: string }): void => void phases.add(phase)
    shards.push(await loadShard({ model, ranges, quant: 'file', cacheFolder, onProgress }))
  }
  assert.deepEqual([...phases], ['cutting', 'hashing'])
  return shards
}

/** Bytes of the matrices as the index of the shard has them, by type. */
const lying = ({ tensors }: ShardFile): Record<string, number> => {
  const sums: Record<string, number> = {}
  for (const { dtype, length } of tensors.values()) if (dtype !== 'f32') sums[dtype] = (sums[dtype] ?? 0) + length
  return sums
}

/** The plan is what is held, but for the padding between tensors. */
const assertPlanned = (model: Model, shares: readonly number[], shards: readonly ShardFile[]): void => {
  for (const [rank, ranges] of planShards(model.about.shape, shares).entries()) {
    const planned = weightBytes(model.about.shape, 'file', ranges)
    const { bytes, tensors } = shards[rank]
    assert.ok(planned >= bytes && planned < bytes * 1.05 + 12 * 4096 * tensors.size, `${planned} for ${bytes}`)
  }
}

for (const dtype of ['F16', 'BF16', 'F32'] as const)
  test(`held: ${dtype} weights of a folder stay as they are, in the plan too`, async (t) => {
    const model = openModel(write(dtype), 'plain')
    t.after(() => model.close())
    const shards = await cut(model, [2, 1])
    for (const { held = [] } of shards) {
      assert.ok(held.length > 0)
      assert.ok(held.every(({ fileType, heldType }) => fileType === dtype && heldType === dtype))
    }
    assertPlanned(model, [2, 1], shards)
  })

test('held: a mixture says the type of each matrix, and which got finer blocks', { skip: !ggmlComes }, async (t) => {
  const { checkpoint, extras } = readFolder(write('F32'))
  const file = join(folder, 'mixed.gguf')
  writeMixture(file, checkpoint, 'Q4_K_M', extras)
  const model = openModel(file, 'mixed')
  t.after(() => model.close())
  const [whole] = await cut(model, [1])
  const all = whole.held ?? []
  assert.ok(all.length > 0 && all.every(({ fileType, heldType }) => fileType === heldType))
  const downs = all.filter(({ part }) => part === 'mlp.down')
  assert.deepEqual(
    downs.map(({ fileType, matrices }) => [fileType, matrices]),
    [
      ['Q6_K', 4],
      ['Q4_K', 4],
    ],
  )

  const shares = [3, 1, 2]
  const shards = await cut(model, shares)
  for (const shard of shards) {
    const sums: Record<string, number> = {}
    for (const { heldType, bytes } of shard.held ?? []) sums[heldType] = (sums[heldType] ?? 0) + bytes
    assert.deepEqual(sums, lying(shard))
    for (const { part, fileType, heldType } of shard.held ?? []) {
      if (!/\.(o|down)$/.test(part)) assert.equal(heldType, fileType, part)
      else if (heldType !== fileType) assert.equal(heldType, { Q4_K: 'Q4_1', Q6_K: 'Q8_0' }[fileType], part)
    }
  }
  const reblocked = shards.flatMap(({ held = [] }) => held).filter(({ fileType, heldType }) => fileType !== heldType)
  assert.ok(reblocked.some(({ part }) => part === 'attention.o') && reblocked.some(({ part }) => part === 'mlp.down'))
  assertPlanned(model, shares, shards)
  const told = listShards(join(folder, 'shards')).find(({ hash }) => hash === shards[0].hash)
  assert.deepEqual(told?.about?.weights, shards[0].held)
})
