/** Shards for tests: of a small random model. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext } from 'node:test'
import type { ModelShape } from '../../../shared/schema/model.ts'
import { type Model, openModel } from '../model-folder.ts'
import { writeRandomModel } from '../random-model.ts'
import { type ShardFile } from '../shard-cache.ts'

export const shape: ModelShape = {
  layers: 2,
  hidden: 64,
  heads: 4,
  kvHeads: 2,
  headDim: 32,
  ffn: 100,
  vocab: 320,
  context: 64,
}

export const setUp = (t: TestContext): { model: Model; cacheFolder: string } => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-shard-'))
  writeRandomModel(join(folder, 'model'), { shape, tied: false, dtype: 'BF16', seed: 4 })
  const model = openModel(join(folder, 'model'), 'm')
  t.after(() => {
    model.close()
    rmSync(folder, { recursive: true, force: true })
  })
  return { model, cacheFolder: join(folder, 'shards') }
}

export const floats = (shard: ShardFile, name: string): Float32Array => {
  const tensor = shard.tensors.get(name)
  assert.ok(tensor, name)
  return new Float32Array(new Uint8Array(readFileSync(shard.weights)).buffer, tensor.offset, tensor.length / 4)
}

export const bytes = (shard: ShardFile, name: string): Uint8Array => {
  const tensor = shard.tensors.get(name)
  assert.ok(tensor, name)
  return new Uint8Array(readFileSync(shard.weights)).slice(tensor.offset, tensor.offset + tensor.length)
}
