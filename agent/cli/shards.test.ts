/** `mesh shards` as a process, on a home whose shards were made here. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { openHome } from '../../shared/home.ts'
import { planShards } from '../../shared/plan/shard-plan.ts'
import type { Quant } from '../../shared/schema/model.ts'
import { temporaryFolder } from '../../test/support/homes.ts'
import { mesh } from '../../test/support/processes.ts'
import { listPools } from '../device/pools.ts'
import { saveRingIntent } from '../device/rings.ts'
import { openModel } from '../model/model-folder.ts'
import { writeRandomModel } from '../model/random-model.ts'
import { loadShard } from '../model/shard-cache.ts'
import { releaseShard } from '../model/shard-store.ts'

const shape = { layers: 1, hidden: 64, heads: 2, kvHeads: 1, headDim: 32, ffn: 96, vocab: 300, context: 64 }

interface Printed {
  readonly bytes: number
  readonly freed_bytes: number
  readonly shards: readonly {
    readonly model_id: string | null
    readonly quant: Quant | null
    readonly bytes: number
    readonly rings: readonly unknown[]
  }[]
  readonly removed: readonly { readonly model_id: string; readonly quant: Quant }[]
}

test('mesh shards lists what is on disk, and --clean removes what no ring uses', async (t) => {
  const root = temporaryFolder(t)
  const folder = join(root, 'home')
  const home = openHome(folder)
  const print = async (...args: string[]): Promise<Printed> =>
    JSON.parse(await mesh(['shards', ...args, '--json'], { home: folder })) as Printed
  await mesh(['init', '--network-id', 'home', '--name', 'Laptop', '--control-plane', 'http://127.0.0.1:9'], {
    home: folder,
  })
  await mesh(['pool-create', '--name', 'friends'], { home: folder })
  assert.match(await mesh(['shards'], { home: folder }), /no shard on disk: mesh join-ring/)
  assert.equal(await mesh(['shards', '--clean'], { home: folder }), 'nothing to remove\n')

  const [{ poolId }] = listPools(home)
  const [ranges] = planShards(shape, [1])
  const make = async (modelId: string, quant: Quant): Promise<() => void> => {
    const place = join(root, modelId)
    if (!existsSync(place)) writeRandomModel(place, { shape, tied: false, dtype: 'BF16', seed: 4 })
    const model = openModel(place, modelId)
    await model.identify({ cacheFolder: home.hashes })
    const shard = await loadShard({ model, ranges, quant, cacheFolder: home.shards, use: { poolId, modelId } })
    model.close()
    return () => releaseShard(shard)
  }
  for (const quant of ['f32', 'q4', 'q8'] as const) (await make('owner/name', quant))()
  saveRingIntent(home, { poolId, modelId: 'owner/name', quant: 'q8', share: 1 })
  const release = await make('other:7b', 'f32') // the same bytes as f32 of owner/name: the ring is another
  mkdirSync(home.hashes, { recursive: true })
  writeFileSync(
    join(home.hashes, 'old.json'),
    JSON.stringify({ version: 1, path: join(root, 'gone'), stamp: '', tensors: [] }),
  )

  const text = await mesh(['shards'], { home: folder })
  assert.match(text, /^owner\/name +q8 +\S+ kB +\d s ago +pool friends$/m)
  assert.match(text, /^owner\/name +q4 +\S+ kB +\d s ago +no ring$/m)
  assert.match(text, /^owner\/name +f32 +\S+ kB +\d s ago +pool friends$/m) // held by this process
  assert.match(text, /^3 shards, \S+ kB in .*; no ring uses \S+ kB of them: mesh shards --clean$/m)
  assert.ok(
    text
      .split('\n')
      .slice(0, 4)
      .every((line) => line.length <= 80),
    text,
  )
  const before = await print()
  assert.equal(
    before.bytes,
    before.shards.reduce((sum, { bytes }) => sum + bytes, 0),
  )
  assert.deepEqual(before.shards.map(({ rings }) => rings.length).toSorted(), [0, 1, 1])

  const cleaned = await print('--clean')
  assert.deepEqual(
    cleaned.removed.map(({ model_id: model, quant }) => [model, quant]),
    [['owner/name', 'q4']],
  )
  assert.equal(cleaned.bytes + cleaned.freed_bytes, before.bytes)
  assert.equal(readdirSync(home.shards).length, 2)
  assert.ok(!existsSync(join(home.hashes, 'old.json')))
  release()
  assert.match(
    await mesh(['shards', '--clean'], { home: folder }),
    /^removed 1 shard that no ring uses: \S+ kB are free again\nmodel /,
  )
  assert.deepEqual(
    (await print()).shards.map(({ quant }) => quant),
    ['q8'],
  )
})
