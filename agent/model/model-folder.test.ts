/** Model folders as they should be, and as a bad download or a hostile one leaves them. */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { openHome } from '../../shared/home.ts'
import { openModel, resolveModel } from './model-folder.ts'
import { loadTokenizer } from './tokenizer.ts'
import { bundled, folderOf, randomFolder, editHeader, open } from './test/model-files.ts'

const edit = (file: string, change: (json: Record<string, unknown>) => object): void =>
  writeFileSync(file, JSON.stringify(change(JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>)))

test('model: the bundled one opens; its manifest tells the shape', () => {
  const model = openModel(join(bundled, 'tiny-story'), 'tiny-story')
  assert.deepEqual(model.about.shape, {
    layers: 8,
    hidden: 256,
    heads: 8,
    kvHeads: 4,
    headDim: 32,
    ffn: 704,
    vocab: 2048,
    context: 512,
    fileBits: { kvHeads: 16, ffn: 16, head: 16 },
  })
  assert.deepEqual(model.config.eosTokenIds, [1])
  assert.equal(model.config.tiedEmbeddings, true)
  model.close()
})

for (const file of ['config.json', 'tokenizer.json', 'model.safetensors']) {
  test(`model: without ${file} the missing file is named`, (t) => {
    const folder = randomFolder(t)
    rmSync(join(folder, file))
    assert.throws(() => open(folder), { code: 'modelFileMissing', fields: { file, folder } })
  })
}

test('model: a missing part of several files is named', (t) => {
  const folder = randomFolder(t, 3)
  open(folder)
  rmSync(join(folder, 'model-00002-of-00003.safetensors'))
  assert.throws(() => open(folder), {
    code: 'modelFileMissing',
    fields: { file: 'model-00002-of-00003.safetensors', folder },
  })
})

test('model: a file cut off anywhere is noticed', (t) => {
  const folder = randomFolder(t)
  const file = join(folder, 'model.safetensors')
  const whole = readFileSync(file)
  for (const bytes of [0, 4, 8, 100, Math.floor(whole.length / 2), whole.length - 1]) {
    writeFileSync(file, whole)
    truncateSync(file, bytes)
    assert.throws(() => open(folder), { code: 'safetensorsInvalid' }, `${bytes} bytes`)
  }
})

test('safetensors: hostile headers are refused before memory is taken', (t) => {
  const folder = randomFolder(t)
  const file = join(folder, 'model.safetensors')
  const whole = readFileSync(file)
  const name = 'model.norm.weight'
  const refused = (what: string, damage: () => void): void => {
    writeFileSync(file, whole)
    damage()
    assert.throws(() => open(folder), { code: 'safetensorsInvalid' }, what)
  }
  const prefix = (value: bigint): void => {
    const bytes = Buffer.from(whole)
    bytes.writeBigUInt64LE(value, 0)
    writeFileSync(file, bytes)
  }
  refused('header of 2^63 bytes', () => prefix(2n ** 63n))
  refused('header beyond the file', () => prefix(BigInt(whole.length)))
  refused('header that is no JSON', () => prefix(5n))
  refused('header that is no object', () => editHeader(file, () => [1, 2]))
  refused('tensor beyond the file', () =>
    editHeader(file, (header) => ({ ...header, [name]: { ...header[name], data_offsets: [0, 1e12] } })),
  )
  refused('end before start', () =>
    editHeader(file, (header) => ({ ...header, [name]: { ...header[name], data_offsets: [64, 32] } })),
  )
  refused('shape larger than its bytes', () =>
    editHeader(file, (header) => ({ ...header, [name]: { ...header[name], shape: [1e9] } })),
  )
  refused('overlapping tensors', () =>
    editHeader(file, (header) => ({ ...header, [name]: { ...header[name], data_offsets: [0, 32] } })),
  )
  refused('negative offset', () =>
    editHeader(file, (header) => ({ ...header, [name]: { ...header[name], data_offsets: [-32, 0] } })),
  )
  refused('malformed entry', () => editHeader(file, (header) => ({ ...header, [name]: 7 })))
})

test('safetensors: an index that names files elsewhere is refused', (t) => {
  const folder = randomFolder(t, 2)
  const index = join(folder, 'model.safetensors.index.json')
  for (const name of ['../model.safetensors', '/etc/passwd', 'a/b.safetensors', 'model.bin']) {
    edit(index, () => ({ weight_map: { x: name } }))
    assert.throws(() => open(folder), { code: 'safetensorsInvalid' }, name)
  }
})

test('model: unsupported architectures and settings are named', (t) => {
  const folder = randomFolder(t)
  const file = join(folder, 'config.json')
  const original = readFileSync(file)
  const refused = (change: object, expected: object): void => {
    writeFileSync(file, original)
    edit(file, (config) => ({ ...config, ...change }))
    assert.throws(() => open(folder), expected)
  }
  refused(
    { architectures: ['GPT2LMHeadModel'] },
    {
      code: 'architectureUnsupported',
      message: /GPT2LMHeadModel is not supported; supported: LlamaForCausalLM, .*Qwen3/,
    },
  )
  refused({ rope_scaling: { type: 'spiral', factor: 2 } }, { code: 'modelConfigInvalid', message: /spiral/ })
  refused({ attention_bias: true }, { code: 'tensorMissing', message: /q_proj\.bias/ })
  refused({ hidden_act: 'gelu' }, { code: 'modelConfigInvalid', message: /gelu/ })
  refused({ num_key_value_heads: 3 }, { code: 'modelConfigInvalid' })
  refused({ hidden_size: -4 }, { code: 'modelConfigInvalid' })
  refused({ vocab_size: 'many' }, { code: 'modelConfigInvalid' })
  refused({ intermediate_size: 48 }, { code: 'tensorShape' })
  refused(
    { num_hidden_layers: 2 },
    { code: 'tensorMissing', fields: { tensor: 'model.layers.1.input_layernorm.weight', folder } },
  )
  writeFileSync(file, '{ "architectures": [')
  assert.throws(() => open(folder), { code: 'modelConfigInvalid' })
})

test('model: a tensor that would change the text is refused by name; leftovers of old files are not', (t) => {
  const folder = randomFolder(t)
  const file = join(folder, 'model.safetensors')
  const original = readFileSync(file)
  const add = (name: string): void => {
    writeFileSync(file, original)
    editHeader(file, (header) => ({ ...header, [name]: { dtype: 'F32', shape: [0], data_offsets: [0, 0] } }))
  }
  for (const tensor of [
    'model.layers.0.self_attn.q_proj.bias',
    'model.layers.0.mlp.up_proj.weight_scale',
    'model.layers.1.input_layernorm.weight',
  ]) {
    add(tensor)
    assert.throws(() => open(folder), { code: 'tensorUnknown', fields: { tensor, folder } })
  }
  add('model.layers.0.self_attn.rotary_emb.inv_freq')
  open(folder)
})

test('resolve: given folder, own models, bundled ones; else the place to put it is named', (t) => {
  const home = openHome(folderOf(t))
  const places = { home, bundledFolder: bundled }
  assert.equal(resolveModel('tiny-story', places), join(bundled, 'tiny-story'))
  const own = join(home.models, 'tiny-story')
  mkdirSync(own, { recursive: true })
  assert.equal(resolveModel('tiny-story', places), own)
  assert.equal(resolveModel('x', { ...places, modelDir: own }), own)
  assert.throws(() => resolveModel('nothing', places), {
    code: 'modelUnknown',
    fields: { modelId: 'nothing', folder: join(home.models, 'nothing'), known: 'tiny-story' },
  })
  assert.throws(() => resolveModel('x', { ...places, modelDir: join(own, 'gone') }), { code: 'modelFolderMissing' })
})

test('tokenizer: a model without chat template says so; a broken tokenizer is named', (t) => {
  const folder = randomFolder(t)
  assert.throws(() => loadTokenizer(folder).encodeChat([{ role: 'user', content: 'hi' }]), {
    code: 'chatTemplateMissing',
  })
  assert.equal(loadTokenizer(folder).decode(loadTokenizer(folder).encode('héllo')), 'héllo')
  writeFileSync(join(folder, 'tokenizer.json'), '{"model": 3}')
  assert.throws(() => loadTokenizer(folder), { code: 'modelConfigInvalid' })
})
