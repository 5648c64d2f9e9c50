/** A model in GGUF is opened, identified and cut as the same one in safetensors is. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { after, test } from 'node:test'
import { openHome } from '../../shared/home.ts'
import { planShards } from '../../shared/plan/shard-plan.ts'
import type { RankRanges } from '../../shared/schema/ring.ts'
import { checkpointOf, writeCheckpoint, writeGgufCheckpoint } from './architecture/random-checkpoint.ts'
import { tinyFamilies } from './architecture/test/tiny-models.ts'
import { openEmbedding } from './embedding.ts'
import { openGguf } from './gguf/gguf.ts'
import { type TypedValue, writeGguf, type WrittenTensor } from './gguf/write-gguf.ts'
import { GgufList } from './gguf/metadata.ts'
import { type Model, openModel, resolveModel } from './model-folder.ts'
import { openSource } from './model-source.ts'
import { loadShard } from './shard-cache.ts'
import { releaseShard } from './shard-store.ts'
import { loadTokenizer } from './tokenizer.ts'

const folder = mkdtempSync(join(tmpdir(), 'mesh-gguf-model-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const tiny = tinyFamilies.find(({ name }) => name === 'llama, scaled') as (typeof tinyFamilies)[number]
const checkpoint = checkpointOf(tiny)
const place = join(folder, 'safetensors')
writeCheckpoint(place, tiny.config, checkpoint)
const file = join(folder, 'one', 'tiny.gguf')
mkdirSync(join(folder, 'one'))
writeGgufCheckpoint(file, checkpoint, tiny.gguf(checkpoint.spec))

/** The same file with other metadata, tensors or parts. */
const rewritten = (
  name: string,
  { change = {}, parts = 1, skip }: { change?: Record<string, TypedValue>; parts?: number; skip?: string } = {},
): string[] => {
  const { metadata, tensors, close } = openGguf(file)
  const bytes = readFileSync(file)
  const values = Object.fromEntries(
    metadata.keys().map((key): [string, TypedValue] => {
      const value = metadata.get(key)
      if (value instanceof GgufList) return [key, { type: value.type, values: [...value] }]
      const type =
        typeof value === 'string'
          ? 'string'
          : typeof value === 'boolean'
            ? 'bool'
            : Number.isInteger(value)
              ? 'u32'
              : 'f32'
      return [key, { type, value: value as number }]
    }),
  )
  close()
  mkdirSync(join(folder, name))
  return writeGguf(join(folder, name, 'tiny.gguf'), {
    metadata: { ...values, ...change },
    parts,
    tensors: [...tensors.values()]
      .filter((tensor) => tensor.name !== skip)
      .map(({ name: own, dims, dtype, start, end }) => ({
        name: own,
        dims,
        type: dtype as WrittenTensor['type'],
        bytes: () => bytes.subarray(start, end),
      })),
  })
}

const rangesOf = (model: Model): readonly RankRanges[] => planShards(model.config.shape, [0.6, 0.4])

const weightsOf = async (model: Model, ranges: RankRanges, name: string): Promise<Buffer> => {
  const shard = await loadShard({ model, ranges, quant: 'q8', cacheFolder: join(folder, name) })
  try {
    return readFileSync(shard.weights)
  } finally {
    releaseShard(shard)
  }
}

test('gguf model: shards are those of the same model in safetensors, byte for byte', async (t) => {
  const [ofFolder, ofFile] = [openModel(place, 'tiny'), openModel(file, 'tiny')]
  t.after(() => [ofFolder, ofFile].forEach((model) => model.close()))
  assert.deepEqual(ofFile.config.shape, ofFolder.config.shape)
  assert.deepEqual(ofFile.config.eosTokenIds, [2])
  for (const ranges of rangesOf(ofFolder))
    assert.deepEqual(await weightsOf(ofFile, ranges, 'shards-b'), await weightsOf(ofFolder, ranges, 'shards-a'))
  const [a, b] = [new Float32Array(48 * 3), new Float32Array(48 * 3)]
  openEmbedding(ofFolder).read([0, 7, 299], a)
  openEmbedding(ofFile, (await ofFile.identify()).digests).read([0, 7, 299], b)
  assert.deepEqual(b, a)
  assert.equal(loadTokenizer(file).encode('word300', {})[0], 1, 'the tokenizer is that of the file')
})

test('gguf model: the revision says metadata and weights, and not how they lie in files', async () => {
  const revisionOf = async (path: string): Promise<string> => {
    const model = openModel(path, 'tiny')
    try {
      return (await model.identify()).revision
    } finally {
      model.close()
    }
  }
  const own = await revisionOf(file)
  assert.equal(await revisionOf(rewritten('parts', { parts: 3 })[1]), own)
  assert.notEqual(
    await revisionOf(rewritten('other', { change: { 'general.name': { type: 'string', value: 'x' } } })[0]),
    own,
  )
  const [changed] = rewritten('changed')
  const bytes = readFileSync(changed)
  bytes[bytes.length - 40] ^= 1
  writeFileSync(changed, bytes)
  assert.notEqual(await revisionOf(changed), own)
})

test('gguf model: bytes that changed since it was identified are refused where they are read', async (t) => {
  const [path] = rewritten('later')
  const source = openSource(path)
  t.after(() => source.close())
  const model = openModel(path, 'tiny')
  const { digests } = await model.identify()
  model.close()
  const bytes = readFileSync(path)
  const { start } = source.partsOf('layers.1.attention.q')[0]
  bytes[start + 5] ^= 1
  writeFileSync(path, bytes)
  const roles = source.roles(digests)
  assert.throws(() => roles.role('layers.1.attention.q').readRows(0, 1), { code: 'weightsChanged', message: /attn_q/ })
  roles.role('layers.0.attention.q').readRows(0, 1)
})

test('gguf model: what is missing, unknown or no whole model is refused by name', () => {
  const opened = (path: string) => () => openModel(path, 'tiny').close()
  assert.throws(opened(rewritten('missing', { skip: 'blk.1.ffn_up.weight' })[0]), {
    code: 'tensorMissing',
    message: /blk\.1\.ffn_up\.weight/,
  })
  const text = (value: string): TypedValue => ({ type: 'string', value })
  assert.throws(opened(rewritten('arch', { change: { 'general.architecture': text('mamba') } })[0]), {
    code: 'architectureUnsupported',
    message: /mamba/,
  })
  assert.throws(opened(rewritten('adapter', { change: { 'general.type': text('adapter') } })[0]), {
    code: 'modelConfigInvalid',
    message: /general\.type is adapter/,
  })
  assert.throws(opened(rewritten('key', { change: { 'llama.attention.novel': text('x') } })[0]), {
    code: 'modelConfigInvalid',
    message: /llama\.attention\.novel/,
  })
})

test('gguf model: a folder, a file and an id lead to it; of several one must be named', () => {
  const home = openHome(join(folder, 'home'))
  const places = { home, bundledFolder: join(folder, 'bundled') }
  const resolved = (modelDir: string): string => resolveModel('tiny', { ...places, modelDir })
  assert.equal(resolved(file), file)
  assert.equal(resolved(join(folder, 'one')), file)
  const [first, second] = rewritten('split', { parts: 2 })
  assert.equal(resolved(join(folder, 'split')), first)
  assert.equal(resolved(second), second)
  writeFileSync(join(folder, 'split', 'mmproj-tiny.gguf'), 'GGUF')
  assert.equal(resolved(join(folder, 'split')), first)
  writeFileSync(join(folder, 'split', 'tiny.Q8_0.gguf'), 'GGUF')
  assert.throws(() => resolved(join(folder, 'split')), {
    code: 'modelFilesSeveral',
    message: /tiny-00001-of-00002\.gguf, tiny\.Q8_0\.gguf/,
  })
  const own = join(home.models, 'owner', 'tiny')
  mkdirSync(own, { recursive: true })
  writeFileSync(join(own, basename(file)), readFileSync(file))
  assert.equal(resolveModel('owner/tiny', places), join(own, 'tiny.gguf'))
  assert.throws(() => resolveModel('other', places), { code: 'modelUnknown', message: /owner\/tiny/ })
  assert.throws(() => resolved(join(folder, 'nowhere.gguf')), { code: 'modelFolderMissing' })
})
