/** Models by their sizes: the files that are made up for them are theirs, and what is too large is refused. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { decodeBlocks, weightFormats } from '../agent/model/blocks/formats.ts'
import type { WeightType } from '../agent/model/architecture/tensor-roles.ts'
import { hasGgml } from '../agent/engine/ggml/library.ts'
import { openModel } from '../agent/model/model-folder.ts'
import { optionRecord } from '../shared/options.ts'
import { startLlamaCpp } from './llama-cpp.ts'
import { fillWeights } from './random-blocks.ts'
import { randomGgufBytes, writeRandomGguf } from './random-gguf.ts'
import { checkRoom } from './room.ts'
import { shapeConfigs, shapedModel } from './shapes.ts'
import { mixedTypes, typesNames } from './weight-types.ts'

const folder = mkdtempSync(join(tmpdir(), 'mesh-shapes-'))
after(() => rmSync(folder, { recursive: true, force: true }))

test('shapes: the options name those and those types that there are', () => {
  const listed = (name: 'shape' | 'types') => [...(optionRecord(name).choices ?? [])].toSorted()
  assert.deepEqual(listed('shape'), Object.keys(shapeConfigs).toSorted())
  assert.deepEqual(listed('types'), typesNames.toSorted())
})

/** Enough of each model that its file is one of its kind. */
const cut = { num_hidden_layers: 2, vocab_size: 512, num_experts: 8, num_local_experts: 4, layer_types: undefined }

for (const [name, types] of [
  ['llama-3.2-1b', 'q4_k_m'],
  ['qwen3-30b-a3b', 'q4_k_m'],
  ['gpt-oss-20b', 'mxfp4'],
] as const) {
  test(`shapes: a random file of ${name} in ${types} is a model of that shape, for us and for llama.cpp`, async () => {
    const config = { ...shapeConfigs[name] }
    for (const [key, value] of Object.entries(cut)) if (Object.hasOwn(config, key)) config[key] = value
    const made = shapedModel(JSON.parse(JSON.stringify(config)))
    const file = join(folder, `${name}.gguf`)
    const typeOf = mixedTypes(made.spec, types)
    writeRandomGguf(file, made, typeOf)
    const model = openModel(file, 'bench')
    const { spec, shape } = model.config
    assert.deepEqual(shape, made.shape)
    assert.deepEqual(
      spec.kinds.map(({ block, feedForward }) => ({ block, feedForward })),
      made.spec.kinds.map(({ block, feedForward }) => ({ block, feedForward })),
    )
    assert.equal(spec.tied, made.spec.tied)
    const written = model.files.reduce((sum, { size }) => sum + size, 0)
    assert.ok(written > randomGgufBytes(made, typeOf) && written < randomGgufBytes(made, typeOf) + 1e5)
    model.close()
    if (!hasGgml()) return
    const llama = await startLlamaCpp({ file, threads: 1, context: 12 })
    try {
      const { decodeTokensPerSecond } = await llama.prompt(8, 4)
      assert.ok(decodeTokensPerSecond > 0 && Number.isFinite(decodeTokensPerSecond))
    } finally {
      await llama.stop()
      rmSync(file)
    }
  })
}

test('shapes: random weights of every type keep the size of activations', () => {
  for (const [type, { values, bytes }] of Object.entries(weightFormats)) {
    const columns = 4096
    const blocks = new Uint8Array(((16 * columns) / values) * bytes)
    fillWeights(type as WeightType, blocks, columns)
    const decoded = decodeBlocks(type as WeightType, blocks)
    const square = decoded.reduce((sum, value) => sum + value * value, 0) / decoded.length
    assert.ok(square * columns > 0.25 && square * columns < 4, `${type}: ${square * columns}`)
  }
})

test('shapes: what does not fit the disk or the memory is refused before it is written', () => {
  const need = { disk: 5e9, memory: 4e9 }
  checkRoom(need, '/tmp', { disk: 5e9, memory: 4e9 })
  assert.throws(() => checkRoom(need, '/tmp', { disk: 4.9e9, memory: 9e9 }), {
    code: 'benchRoom',
    message: /need 5 GB, and \/tmp has 4\.9 GB/,
  })
  assert.throws(() => checkRoom(need, '/tmp', { disk: 9e9, memory: 3e9 }), { code: 'benchRoom', message: /memory/ })
})
