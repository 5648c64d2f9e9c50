/** Model folders as they should be, and as a bad download or a hostile one leaves them. */
import assert from 'node:assert/strict'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { openHome } from '../../shared/home.ts'
import type { ModelShape } from '../../shared/schema/model.ts'
import { openModel, resolveModel } from './model-folder.ts'
import { writeRandomModel } from './random-model.ts'
import { loadTokenizer } from './tokenizer.ts'
import { readColumns, readRows } from './tensor-slice.ts'

const shape: ModelShape = { layers: 1, hidden: 16, heads: 2, kvHeads: 1, headDim: 8, ffn: 40, vocab: 300, context: 64 }
const bundled = fileURLToPath(new URL('../../models', import.meta.url))

const folderOf = (t: TestContext): string => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-model-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

const randomFolder = (t: TestContext, files = 1): string => {
  const folder = folderOf(t)
  writeRandomModel(folder, { shape, tied: false, dtype: 'F16', files, seed: 3 })
  return folder
}

const edit = (file: string, change: (json: Record<string, unknown>) => object): void => writeFileSync(file, JSON.stringify(change(JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>)))

/** Replaces the header of a safetensors file. */
const editHeader = (file: string, change: (header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>) => object): void => {
  const bytes = readFileSync(file)
  const length = Number(bytes.readBigUInt64LE(0))
  const header = Buffer.from(JSON.stringify(change(JSON.parse(bytes.subarray(8, 8 + length).toString()) as never)))
  const prefix = Buffer.alloc(8)
  prefix.writeBigUInt64LE(BigInt(header.length))
  writeFileSync(file, Buffer.concat([prefix, header, bytes.subarray(8 + length)]))
}

const open = (folder: string): void => openModel(folder, 'm').close()

test('model: the bundled one opens; its manifest tells the shape', () => {
  const model = openModel(join(bundled, 'tiny-story'), 'tiny-story')
  assert.deepEqual(model.manifest.shape, { layers: 8, hidden: 256, heads: 8, kvHeads: 4, headDim: 32, ffn: 704, vocab: 2048, context: 512 })
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
  assert.throws(() => open(folder), { code: 'modelFileMissing', fields: { file: 'model-00002-of-00003.safetensors', folder } })
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
  refused('tensor beyond the file', () => editHeader(file, (header) => ({ ...header, [name]: { ...header[name], data_offsets: [0, 1e12] } })))
  refused('end before start', () => editHeader(file, (header) => ({ ...header, [name]: { ...header[name], data_offsets: [64, 32] } })))
  refused('shape larger than its bytes', () => editHeader(file, (header) => ({ ...header, [name]: { ...header[name], shape: [1e9] } })))
  refused('overlapping tensors', () => editHeader(file, (header) => ({ ...header, [name]: { ...header[name], data_offsets: [0, 32] } })))
  refused('negative offset', () => editHeader(file, (header) => ({ ...header, [name]: { ...header[name], data_offsets: [-32, 0] } })))
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
  refused({ architectures: ['GPT2LMHeadModel'] }, { code: 'architectureUnsupported', fields: { architecture: 'GPT2LMHeadModel' } })
  refused({ rope_scaling: { type: 'linear', factor: 2 } }, { code: 'modelConfigInvalid', message: /rope_scaling .*linear/ })
  refused({ attention_bias: true }, { code: 'modelConfigInvalid' })
  refused({ hidden_act: 'gelu' }, { code: 'modelConfigInvalid', message: /gelu/ })
  refused({ num_key_value_heads: 3 }, { code: 'modelConfigInvalid' })
  refused({ hidden_size: -4 }, { code: 'modelConfigInvalid' })
  refused({ vocab_size: 'many' }, { code: 'modelConfigInvalid' })
  refused({ intermediate_size: 48 }, { code: 'tensorShape' })
  refused({ num_hidden_layers: 2 }, { code: 'tensorMissing', fields: { tensor: 'model.layers.1.input_layernorm.weight', folder } })
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
  for (const tensor of ['model.layers.0.self_attn.q_proj.bias', 'model.layers.0.mlp.up_proj.weight_scale', 'model.layers.1.input_layernorm.weight']) {
    add(tensor)
    assert.throws(() => open(folder), { code: 'tensorUnknown', fields: { tensor, folder } })
  }
  add('model.layers.0.self_attn.rotary_emb.inv_freq')
  open(folder)
})

test('model: integer weights are refused', (t) => {
  const folder = randomFolder(t)
  editHeader(join(folder, 'model.safetensors'), (header) => ({ ...header, 'model.norm.weight': { ...header['model.norm.weight'], dtype: 'I16' } }))
  assert.throws(() => open(folder), { code: 'dtypeUnsupported', fields: { tensor: 'model.norm.weight', dtype: 'I16' } })
})

test('model: the revision changes with weights, tokenizer and configuration, and with nothing else', (t) => {
  const folder = randomFolder(t)
  const revision = (): string => {
    const model = openModel(folder, 'm')
    model.close()
    return model.manifest.revision
  }
  const first = revision()
  const copy = folderOf(t)
  mkdirSync(copy, { recursive: true })
  for (const name of ['config.json', 'tokenizer.json', 'model.safetensors']) copyFileSync(join(folder, name), join(copy, name))
  const other = openModel(copy, 'another name')
  other.close()
  assert.equal(other.manifest.revision, first)
  const bytes = readFileSync(join(folder, 'model.safetensors'))
  bytes[bytes.length - 3] ^= 1
  writeFileSync(join(folder, 'model.safetensors'), bytes)
  assert.notEqual(revision(), first)
})

test('tensor slices: rows and columns are those of the whole, in every type', (t) => {
  for (const dtype of ['F32', 'F16', 'BF16'] as const) {
    const folder = folderOf(t)
    writeRandomModel(folder, { shape, tied: false, dtype, seed: 9 })
    const model = openModel(folder, 'm')
    const tensor = model.tensor('model.layers.0.mlp.down_proj.weight')
    const [rows, columns] = tensor.dims
    const whole = readRows(tensor, 0, rows)
    assert.ok(whole.every(Number.isFinite) && whole.some((value) => value !== 0))
    assert.deepEqual(readRows(tensor, 3, 7), whole.slice(3 * columns, 7 * columns))
    const part = readColumns(tensor, { start: 5, end: 9 }, { start: 2, end: 4 })
    for (let row = 2; row < 4; row++) for (let column = 5; column < 9; column++) assert.equal(part[(row - 2) * 4 + column - 5], whole[row * columns + column])
    assert.throws(() => readRows(tensor, 0, rows + 1), RangeError)
    model.close()
  }
})

test('resolve: given folder, own models, bundled ones; else the place to put it is named', (t) => {
  const home = openHome(folderOf(t))
  const places = { home, bundledFolder: bundled }
  assert.equal(resolveModel('tiny-story', places), join(bundled, 'tiny-story'))
  const own = join(home.models, 'tiny-story')
  mkdirSync(own, { recursive: true })
  assert.equal(resolveModel('tiny-story', places), own)
  assert.equal(resolveModel('x', { ...places, modelDir: own }), own)
  assert.throws(() => resolveModel('nothing', places), { code: 'modelUnknown', fields: { modelId: 'nothing', folder: join(home.models, 'nothing'), known: 'tiny-story' } })
  assert.throws(() => resolveModel('x', { ...places, modelDir: join(own, 'gone') }), { code: 'modelFolderMissing' })
})

test('tokenizer: a model without chat template says so; a broken tokenizer is named', (t) => {
  const folder = randomFolder(t)
  assert.throws(() => loadTokenizer(folder).encodeChat([{ role: 'user', content: 'hi' }]), { code: 'chatTemplateMissing' })
  assert.equal(loadTokenizer(folder).decode(loadTokenizer(folder).encode('héllo')), 'héllo')
  writeFileSync(join(folder, 'tokenizer.json'), '{"model": 3}')
  assert.throws(() => loadTokenizer(folder), { code: 'modelConfigInvalid' })
})
