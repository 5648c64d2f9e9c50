/** A shard that is large enough to be made by several threads. */
import assert from 'node:assert/strict'
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, truncateSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { planShards } from '../../shared/plan/shard-plan.ts'
import type { ModelShape } from '../../shared/schema/model.ts'
import type { Loading } from '../../shared/schema/ring.ts'
import { openModel } from './model-folder.ts'
import { quantize } from './quantize.ts'
import { writeRandomModel } from './random-model.ts'
import { loadShard, type ShardProgress } from './shard-cache.ts'
import { readRows } from './tensor-slice.ts'

/** The head alone has six pieces of a million elements. */
const shape: ModelShape = {
  layers: 1,
  hidden: 256,
  heads: 4,
  kvHeads: 2,
  headDim: 64,
  ffn: 512,
  vocab: 24_000,
  context: 64,
}
const [ranges] = planShards(shape, [1])

describe('shard made by threads', () => {
  let folder: string
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'mesh-threads-'))
    writeRandomModel(join(folder, 'model'), { shape, tied: true, dtype: 'BF16', seed: 5 })
  })
  after(() => rmSync(folder, { recursive: true, force: true }))

  it('has the same bytes for any number of threads, and they are the quantised rows', async () => {
    const model = openModel(join(folder, 'model'), 'm')
    const shards = await Promise.all(
      [1, 3].map((threads) =>
        loadShard({ model, ranges, quant: 'q8', cacheFolder: join(folder, `cache-${threads}`), threads }),
      ),
    )
    const [one, three] = shards.map(({ weights }) => readFileSync(weights))
    assert.ok(one.equals(three))
    const { codes } = quantize(
      readRows(model.tensor('model.embed_tokens.weight'), 0, shape.vocab),
      shape.vocab,
      shape.hidden,
      { bits: 8, block: 32 },
    )
    const head = shards[0].tensors.get('head.q')
    assert.ok(head && one.subarray(head.offset, head.offset + head.length).equals(codes))
    model.close()
  })

  it('tells how many bytes are made, then checked, and when it is there only checks', async () => {
    const model = openModel(join(folder, 'model'), 'm')
    const seen: ShardProgress[] = []
    const request = {
      model,
      ranges,
      quant: 'q4' as const,
      cacheFolder: join(folder, 'cache-q4'),
      threads: 2,
      onProgress: (progress: ShardProgress) => void seen.push(progress),
    }
    const { bytes } = await loadShard(request)
    const of = (phase: Loading['phase']): number[] =>
      seen.filter((progress) => progress.phase === phase).map((progress) => progress.bytes)
    for (const phase of ['quantising', 'hashing'] as const) {
      assert.deepEqual(
        of(phase),
        of(phase).toSorted((a, b) => a - b),
      )
      // holes between aligned tensors are not written
      assert.ok(Math.abs((of(phase).at(-1) ?? 0) / bytes - 1) < 0.01, phase)
    }
    assert.ok(of('quantising').length > 5)
    for (const { totalBytes } of seen) assert.equal(totalBytes, bytes)
    seen.length = 0
    await loadShard(request)
    assert.deepEqual([...new Set(seen.map(({ phase }) => phase))], ['hashing'])
    model.close()
  })

  it('a byte that changed since the model was read whole fails with the tensor, and nothing is left of the shard', async () => {
    writeRandomModel(join(folder, 'changed'), { shape, tied: true, dtype: 'BF16', seed: 6 })
    const model = openModel(join(folder, 'changed'), 'm')
    await model.identify()
    const { start } = model.tensor('model.layers.0.mlp.down_proj.weight')
    const handle = openSync(join(folder, 'changed', 'model.safetensors'), 'r+')
    writeSync(handle, Buffer.alloc(2), 0, 2, start)
    closeSync(handle)
    const cacheFolder = join(folder, 'cache-changed')
    await assert.rejects(loadShard({ model, ranges, quant: 'q8', cacheFolder, threads: 2 }), {
      code: 'weightsChanged',
      message: /down_proj.*MiB 0/,
    })
    assert.deepEqual(readdirSync(cacheFolder), [])
    model.close()
  })

  it('a model that ends early fails with its name, and nothing is left of the shard', async () => {
    writeRandomModel(join(folder, 'short'), { shape, tied: true, dtype: 'BF16', seed: 6 })
    const model = openModel(join(folder, 'short'), 'm')
    await model.identify()
    truncateSync(join(folder, 'short', 'model.safetensors'), 1_000_000)
    const cacheFolder = join(folder, 'cache-short')
    await assert.rejects(loadShard({ model, ranges, quant: 'q8', cacheFolder, threads: 2 }), {
      code: 'safetensorsInvalid',
    })
    assert.deepEqual(readdirSync(cacheFolder), [])
    model.close()
  })
})
