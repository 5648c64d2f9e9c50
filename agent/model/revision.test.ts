/** What a model is known by: the bytes of its files, read once while they rest. */
import assert from 'node:assert/strict'
import { copyFileSync, readdirSync, readFileSync, renameSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { eventually } from '../../test/support/processes.ts'
import { openModel } from './model-folder.ts'
import { writeRandomModel } from './random-model.ts'
import { TensorFile } from './safetensors.ts'
import { shape, bundled, folderOf, randomFolder, editHeader, revisionOf, overwrite } from './test/model-files.ts'

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
