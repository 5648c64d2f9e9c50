/** Shards on the disk: made once, found again, made anew where they are damaged. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { planShards } from '../../shared/plan/shard-plan.ts'
import { openModel } from './model-folder.ts'
import { loadShard } from './shard-cache.ts'
import { readRows } from './tensor-slice.ts'
import { shape, setUp, floats } from './test/shards.ts'

test('shard: a second load takes what is there; a damaged one is rebuilt', async (t) => {
  const { model, cacheFolder } = setUp(t)
  const [ranges] = planShards(shape, [1])
  const request = { model, ranges, quant: 'q8' as const, cacheFolder }
  const first = await loadShard(request)
  const good = readFileSync(first.weights)
  const builtAt = statSync(first.weights).mtimeMs
  assert.equal(statSync((await loadShard(request)).weights).mtimeMs, builtAt)
  for (const damage of [
    () => truncateSync(first.weights, 100),
    () =>
      writeFileSync(
        first.weights,
        good.map((byte, i) => (i === 5000 ? byte ^ 1 : byte)),
      ),
    () => writeFileSync(join(first.folder, 'index.json'), '{"bytes": 1'),
    () => rmSync(first.weights),
  ]) {
    damage()
    assert.ok(readFileSync((await loadShard(request)).weights).equals(good))
  }
})

test('shard: other ranges, quantisation or weights are other shards', async (t) => {
  const { model, cacheFolder } = setUp(t)
  const [whole] = planShards(shape, [1])
  const [half] = planShards(shape, [1, 1])
  const hashes = await Promise.all([
    loadShard({ model, ranges: whole, quant: 'q8', cacheFolder }),
    loadShard({ model, ranges: half, quant: 'q8', cacheFolder }),
    loadShard({ model, ranges: whole, quant: 'q4', cacheFolder }),
    loadShard({ model, ranges: whole, quant: 'q4', block: 128, cacheFolder }),
    loadShard({
      model: { ...model, identify: async () => ({ ...(await model.identify()), revision: 'f'.repeat(64) }) },
      ranges: whole,
      quant: 'q8',
      cacheFolder,
    }),
  ])
  assert.equal(new Set(hashes.map(({ hash }) => hash)).size, 5)
})

test('shard: models of one configuration that differ in a few bytes are other shards', async (t) => {
  const { model, cacheFolder } = setUp(t)
  const [ranges] = planShards(shape, [1])
  const file = join(model.folder, 'model.safetensors')
  const first = await loadShard({ model, ranges, quant: 'f32', cacheFolder })
  const { start } = model.tensor('model.layers.1.mlp.up_proj.weight')
  const changed = readFileSync(file)
  changed[start + 6000] ^= 1 // not at the start, the middle or the end of the tensor
  writeFileSync(file, changed)
  const other = openModel(model.folder, 'm')
  const second = await loadShard({ model: other, ranges, quant: 'f32', cacheFolder })
  assert.notEqual(second.hash, first.hash)
  assert.deepEqual([...floats(second, 'layers.1.mlp.gateUp.w')].slice(-6400), [
    ...readRows(other.tensor('model.layers.1.mlp.up_proj.weight'), 0, 100),
  ])
  other.close()
})

test('shard: two builders of the same shard at once both get it, and leave nothing else', async (t) => {
  const { model, cacheFolder } = setUp(t)
  const [ranges] = planShards(shape, [1])
  const [one, two] = await Promise.all([1, 2].map(() => loadShard({ model, ranges, quant: 'q4', cacheFolder })))
  assert.equal(one.folder, two.folder)
  assert.ok(existsSync(one.weights))
  assert.deepEqual(readdirSync(cacheFolder), [one.hash])
})

test('shard: a disk that cannot hold it is named before anything is cut', async (t) => {
  const { model, cacheFolder } = setUp(t)
  const [ranges] = planShards(shape, [1])
  const huge = {
    ...model,
    config: { ...model.config, spec: { ...model.config.spec, vocab: 2 ** 24, hidden: 2 ** 20 } },
  }
  await assert.rejects(
    loadShard({ model: huge, ranges: { ...ranges, vocab: { start: 0, end: 2 ** 24 } }, quant: 'f32', cacheFolder }),
    { code: 'diskFull' },
  )
  assert.deepEqual(readdirSync(cacheFolder), [])
})
