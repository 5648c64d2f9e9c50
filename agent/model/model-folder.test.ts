/** Model folders as they should be, and as a bad download or a hostile one leaves them. */
import assert from 'node:assert/strict'
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { MeshError } from '../../shared/errors.ts'
import { openHome } from '../../shared/home.ts'
import type { ModelShape } from '../../shared/schema/model.ts'
import { eventually } from '../../test/support/processes.ts'
import { openModel, resolveModel } from './model-folder.ts'
import { readTensors } from './model-hashes.ts'
import { writeRandomModel } from './random-model.ts'
import { TensorFile } from './safetensors.ts'
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

const edit = (file: string, change: (json: Record<string, unknown>) => object): void =>
  writeFileSync(file, JSON.stringify(change(JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>)))

/** Replaces the header of a safetensors file. */
const editHeader = (
  file: string,
  change: (header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>) => object,
): void => {
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

test('model: integer weights are refused', (t) => {
  const folder = randomFolder(t)
  editHeader(join(folder, 'model.safetensors'), (header) => ({
    ...header,
    'model.norm.weight': { ...header['model.norm.weight'], dtype: 'I16' },
  }))
  assert.throws(() => open(folder), { code: 'dtypeUnsupported', fields: { tensor: 'model.norm.weight', dtype: 'I16' } })
})

const revisionOf = async (folder: string): Promise<string> => {
  const model = openModel(folder, 'm')
  try {
    return (await model.identify()).revision
  } finally {
    model.close()
  }
}

/** Writes some bytes into a file in its place. */
const overwrite = (file: string, at: number, bytes: Uint8Array): void => {
  const handle = openSync(file, 'r+')
  writeSync(handle, bytes, 0, bytes.length, at)
  closeSync(handle)
}

test('model: the revision is that of the bytes: not of the name, the folder, or the number of files', async (t) => {
  const folder = randomFolder(t)
  const first = await revisionOf(folder)
  const copy = folderOf(t)
  for (const name of readdirSync(folder)) copyFileSync(join(folder, name), join(copy, name))
  assert.equal(await revisionOf(copy), first)
  // the same tensors in other order and in one more file, and one that nothing uses
  const bytes = readFileSync(join(folder, 'model.safetensors'))
  editHeader(join(copy, 'model.safetensors'), (header) => Object.fromEntries(Object.entries(header).toReversed()))
  assert.equal(await revisionOf(copy), first)
  const [one, three] = [randomFolder(t), folderOf(t)]
  writeRandomModel(three, { shape, tied: false, dtype: 'F16', files: 3, seed: 3 })
  assert.equal(await revisionOf(one), first)
  assert.notEqual(await revisionOf(three), first) // other random numbers for each file
  writeFileSync(join(copy, 'README.md'), 'nothing that is used')
  assert.equal(await revisionOf(copy), first)
  assert.ok(bytes.length > 0)
})

test('model: any changed byte of weights and any describing file make another revision', async (t) => {
  const folder = randomFolder(t)
  const file = join(folder, 'model.safetensors')
  const first = await revisionOf(folder)
  const bytes = readFileSync(file)
  const start = 8 + Number(bytes.readBigUInt64LE(0))
  for (const at of [start, start + 5000, Math.floor((start + bytes.length) / 2), bytes.length - 1]) {
    const changed = Buffer.from(bytes)
    changed[at] ^= 1
    writeFileSync(file, changed)
    assert.notEqual(await revisionOf(folder), first, `byte ${at}`)
  }
  writeFileSync(file, bytes)
  assert.equal(await revisionOf(folder), first)
  for (const [name, text] of [
    ['generation_config.json', '{"eos_token_id": 7}'],
    ['tokenizer_config.json', '{"chat_template": "x"}'],
    ['chat_template.jinja', 'x'],
  ] as const) {
    const before = await revisionOf(folder)
    writeFileSync(join(folder, name), text)
    assert.notEqual(await revisionOf(folder), before, name)
  }
})

test('model: a hole of zeros anywhere in the bundled weights is noticed, also with the old time of modification', async (t) => {
  const folder = folderOf(t)
  for (const name of readdirSync(join(bundled, 'tiny-story')))
    if (/json|safetensors/.test(name)) copyFileSync(join(bundled, 'tiny-story', name), join(folder, name))
  const file = join(folder, 'model.safetensors')
  const { size, atime, mtime } = statSync(file)
  const hashes = folderOf(t)
  const known = async (): Promise<string> => {
    const model = openModel(folder, 'm')
    try {
      return (await model.identify({ cacheFolder: hashes })).revision
    } finally {
      model.close()
    }
  }
  const seen = new Set([await known()])
  for (const at of [2_000_000, Math.floor(size / 2) + 12_345, size - 2 ** 20]) {
    overwrite(file, at, new Uint8Array(2 ** 20))
    utimesSync(file, atime, mtime)
    seen.add(await known())
  }
  assert.equal(seen.size, 4)
})

test('model: hashes are remembered for a file that rests, and not for any other', async (t) => {
  const folder = randomFolder(t)
  const file = join(folder, 'model.safetensors')
  const hashes = folderOf(t)
  const read = async (): Promise<number> => {
    const model = openModel(folder, 'm')
    const { read: tensors } = await model.identify({ cacheFolder: hashes })
    model.close()
    return tensors.size
  }
  const all = await read()
  assert.equal(all, 12)
  assert.equal(await read(), all) // it was written a moment ago: a second change could leave the same time
  const { changedAt } = new TensorFile(file)
  await eventually(10_000, 'the file rests', () => Date.now() - changedAt > 2000 || undefined)
  assert.equal(await read(), all)
  assert.equal(await read(), 0)
  copyFileSync(file, join(folder, 'copy'))
  renameSync(join(folder, 'copy'), file)
  assert.equal(await read(), all)
  writeFileSync(join(hashes, readdirSync(hashes)[0]), '{')
  assert.equal(await read(), all)
})

test('model: weights that are infinite or not a number are refused by name and place, in every type and at either end', async (t) => {
  for (const [dtype, bits] of [
    ['F32', [0, 0, 0x80, 0x7f]],
    ['F16', [1, 0x7c]],
    ['BF16', [0xc0, 0xff]],
  ] as const) {
    const folder = folderOf(t)
    writeRandomModel(folder, { shape: { ...shape, hidden: 18 }, tied: true, dtype, seed: 3 })
    const file = join(folder, 'model.safetensors')
    const whole = readFileSync(file)
    const model = openModel(folder, 'm')
    const width = bits.length
    // rows of 18: the last element of a tensor of 16 bits need not end a word
    const places = [
      ['model.norm.weight', 17, /at element 17$/],
      ['model.layers.0.mlp.down_proj.weight', 0, /at row 0, column 0$/],
      ['model.layers.0.mlp.down_proj.weight', 40 * 3 + 5, /at row 3, column 5$/],
    ] as const
    for (const [tensor, element, place] of places) {
      writeFileSync(file, whole)
      overwrite(file, model.tensor(tensor).start + element * width, Uint8Array.from(bits))
      await assert.rejects(
        revisionOf(folder),
        (error: unknown) =>
          error instanceof MeshError &&
          error.code === 'weightsUnusable' &&
          error.fields.tensor === tensor &&
          place.test(String(error.fields.problem)),
      )
    }
    model.close()
  }
})

test('model: a thread reads what a slice reads, tells what it reads, and can be given up', async (t) => {
  const folder = folderOf(t)
  writeRandomModel(folder, {
    shape: { layers: 1, hidden: 1024, heads: 8, kvHeads: 8, headDim: 128, ffn: 6000, vocab: 8000, context: 64 },
    tied: true,
    dtype: 'F32',
    seed: 5,
  })
  const model = openModel(folder, 'm')
  t.after(() => model.close())
  const names = [
    'model.embed_tokens.weight',
    'model.layers.0.mlp.down_proj.weight',
    'model.layers.0.mlp.up_proj.weight',
    'model.layers.0.mlp.gate_proj.weight',
  ]
  const tensors = names.map((name) => model.tensor(name))
  let told = 0
  const inThreads = await readTensors(tensors, model.files, { threads: 2, onBytes: (bytes) => (told += bytes) })
  assert.equal(
    told,
    tensors.reduce((sum, { start, end }) => sum + end - start, 0),
  )
  const hex = (digests: Uint8Array | undefined): string => Buffer.from(digests ?? []).toString('hex')
  for (const tensor of tensors)
    assert.equal(
      hex((await readTensors([tensor], model.files, { threads: 1 })).get(tensor.name)),
      hex(inThreads.get(tensor.name)),
    )
  const stop = new AbortController()
  await assert.rejects(
    readTensors(tensors, model.files, {
      threads: 2,
      signal: stop.signal,
      onBytes: () => stop.abort(new Error('enough')),
    }),
    /enough/,
  )
  overwrite(join(folder, 'model.safetensors'), tensors[2].start + 3 * 2 ** 20 + 4, Uint8Array.from([0, 0, 0x80, 0x7f]))
  // not the file that was opened
  await assert.rejects(readTensors(tensors, model.files, { threads: 2 }), { code: 'safetensorsInvalid' })
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
    for (let row = 2; row < 4; row++)
      for (let column = 5; column < 9; column++)
        assert.equal(part[(row - 2) * 4 + column - 5], whole[row * columns + column])
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
