/** Tensors of a model folder: read whole, in slices and by threads; refused where they hold no weights. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import { openModel } from './model-folder.ts'
import { readTensors } from './model-hashes.ts'
import { writeRandomModel } from './random-model.ts'
import { readColumns, readRows } from './tensor-slice.ts'
import { shape, folderOf, randomFolder, editHeader, open, revisionOf, overwrite } from './test/model-files.ts'

test('model: integer weights are refused', (t) => {
  const folder = randomFolder(t)
  editHeader(join(folder, 'model.safetensors'), (header) => ({
    ...header,
    'model.norm.weight': { ...header['model.norm.weight'], dtype: 'I16' },
  }))
  assert.throws(() => open(folder), { code: 'dtypeUnsupported', fields: { tensor: 'model.norm.weight', dtype: 'I16' } })
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
