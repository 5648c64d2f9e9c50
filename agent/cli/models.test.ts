/** The library: models known by name, added, shown, served and forgotten. */
import assert from 'node:assert/strict'
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { openHome } from '../../shared/home.ts'
import { temporaryFolder } from '../../test/support/homes.ts'
import { mesh, meshHere, startReady } from '../../test/support/processes.ts'
import { loadRingIntents, saveRingIntent } from '../device/rings.ts'
import { findEntry, saveEntry } from '../library/library.ts'
import { checkpointOf, writeGgufCheckpoint } from '../model/architecture/random-checkpoint.ts'
import { tinyFamilies } from '../model/architecture/test/tiny-models.ts'
import { bundledFolder } from './ring-join.ts'

const story = join(bundledFolder, 'tiny-story')

interface Failure {
  readonly code: string
  readonly message: string
  readonly hint: string
}

const failure = async (home: string, ...args: string[]): Promise<Failure> => {
  const { code, stdout } = await meshHere([...args, '--json'], home)
  assert.notEqual(code, 0, args.join(' '))
  return (JSON.parse(stdout) as { error: Failure }).error
}

const answer = async <T>(home: string, ...args: string[]): Promise<T> =>
  JSON.parse(await mesh([...args, '--json'], { home })) as T

const writeGgufParts = (folder: string): string => {
  const tiny = tinyFamilies.find(({ name }) => name === 'llama, scaled') as (typeof tinyFamilies)[number]
  const checkpoint = checkpointOf(tiny)
  mkdirSync(folder)
  const file = join(folder, 'tiny-F32.gguf')
  writeGgufCheckpoint(file, checkpoint, tiny.gguf(checkpoint.spec))
  return file
}

test('model-add: a folder and a file get names, are listed and shown, and stay where they are', async (t) => {
  const root = temporaryFolder(t)
  const home = join(root, 'home')
  assert.match(await mesh(['model-list'], { home }), /library of this device is empty: mesh model-add PATH/)
  assert.deepEqual(await answer(home, 'model-list'), [])

  const added = await mesh(['model-add', story, '--name', 'owner/story'], { home })
  assert.match(added, /^is +Llama, \S+ (million )?weights, /m)
  assert.match(added, /^next +mesh join-ring --model-id owner\/story$/m)
  const file = writeGgufParts(join(root, 'files'))
  assert.equal((await answer<{ name: string }>(home, 'model-add', join(root, 'files'))).name, 'files')
  const { name, path, format } = await answer<Record<string, string>>(home, 'model-add', '--path', file)
  assert.deepEqual([name, path, format], ['tiny-F32', file, 'gguf'])
  await mesh(['model-add', file], { home }) // again: no matter

  const list = await answer<{ name: string; is_there: boolean; rings: unknown[] }[]>(home, 'model-list')
  assert.deepEqual(
    list.map((entry) => [entry.name, entry.is_there, entry.rings]),
    ['files', 'owner/story', 'tiny-F32'].map((each) => [each, true, []]),
  )
  assert.match(await mesh(['model-list'], { home }), /^tiny-F32 +gguf +\S+ kB +added +-$/m)
  const shown = await answer<Record<string, unknown>>(home, 'model-show', 'owner/story')
  assert.deepEqual([shown.family, shown.format, shown.path], ['Llama', 'safetensors', story])
  assert.match(await mesh(['model-show', 'tiny-F32'], { home }), /^weights +\S+ kB of gguf$/m)

  assert.match(await mesh(['model-remove', 'tiny-F32'], { home }), /its files stay at/)
  assert.ok(existsSync(file))
  assert.equal((await failure(home, 'model-show', 'tiny-F32')).code, 'modelNotInLibrary')
})

test('model-add: what cannot be served, or whose name is taken, is refused and changes nothing', async (t) => {
  const root = temporaryFolder(t)
  const home = join(root, 'home')
  await mesh(['model-add', story, '--name', 'm'], { home })
  const copy = join(root, 'copy')
  cpSync(story, copy, { recursive: true })
  const taken = await failure(home, 'model-add', copy, '--name', 'm')
  assert.deepEqual([taken.code, taken.hint.endsWith('mesh model-remove m')], ['modelNameTaken', true])
  rmSync(join(copy, 'tokenizer.json'))
  assert.equal((await failure(home, 'model-add', copy)).code, 'modelFileMissing')
  mkdirSync(join(root, 'empty'))
  assert.equal((await failure(home, 'model-add', join(root, 'empty'))).code, 'modelFileMissing')
  assert.equal((await failure(home, 'model-add', join(root, 'nowhere'))).code, 'modelFolderMissing')
  writeFileSync(join(root, 'cut.gguf'), 'GGUF')
  assert.equal((await failure(home, 'model-add', join(root, 'cut.gguf'))).code, 'ggufInvalid')
  copyFileSync(join(story, 'config.json'), join(root, 'notes.txt'))
  assert.equal((await failure(home, 'model-add', join(root, 'notes.txt'))).code, 'modelFolderIsFile')
  for (const name of ['../up', 'a b', 'a/b/c/d', ''])
    assert.equal((await failure(home, 'model-add', story, '--name', name)).code, 'usage', name)
  assert.equal((await failure(home, 'model-add', '')).code, 'usage')
  assert.deepEqual(readdirSync(openHome(home).library), ['m.json'])

  // files that moved: said by name, and mended by the command that the hint tells
  const entry = findEntry(openHome(home), 'm')
  assert.ok(entry)
  saveEntry(openHome(home), { ...entry, name: 'gone', path: join(root, 'gone') })
  const gone = await failure(home, 'model-show', 'gone')
  assert.deepEqual([gone.code, /mesh model-add PATH --name gone/.test(gone.hint)], ['modelGone', true])
  await mesh(['model-add', story, '--name', 'gone'], { home })
  await mesh(['model-show', 'gone'], { home })
  // a record that somebody damaged spoils no other one
  writeFileSync(join(openHome(home).library, 'bad.json'), '{"name": "bad"')
  const { code, stdout, stderr } = await meshHere(['model-list'], home)
  assert.deepEqual(
    [code, /^m +safetensors/m.test(stdout), /note: cannot read .*bad\.json/.test(stderr)],
    [0, true, true],
  )
})

test('model-remove: what Mesh fetched goes, but never a file outside of its models', async (t) => {
  const root = temporaryFolder(t)
  const home = openHome(join(root, 'home'))
  const source = {
    hub: 'https://hub.example',
    repo: 'o/m',
    revision: 'main',
    commit: 'c',
    files: [{ path: 'config.json', bytes: 500, hash: `sha256:${'0'.repeat(64)}` }],
  }
  const fetched = join(home.models, 'o', 'm')
  for (const folder of [fetched, join(root, 'own')]) cpSync(story, folder, { recursive: true })
  const entry = { format: 'safetensors', weightBytes: 1, addedAt: 1, source } as const
  saveEntry(home, { ...entry, name: 'o/m', path: fetched })
  saveEntry(home, { ...entry, name: 'own', path: join(root, 'own') })
  saveRingIntent(home, { poolId: 'a'.repeat(64), modelId: 'o/m', quant: 'q8', share: 1 })
  const refused = await failure(home.root, 'model-remove', 'o/m')
  assert.deepEqual([refused.code, refused.hint.endsWith('mesh leave-ring --model-id o/m')], ['modelInUse', true])
  writeFileSync(home.rings, '[]')
  const { freed_bytes: freed } = await answer<{ freed_bytes: number }>(home.root, 'model-remove', 'o/m')
  assert.deepEqual([freed, existsSync(fetched), existsSync(join(root, 'own'))], [500, false, true])
  await mesh(['model-remove', 'own'], { home: home.root })
  assert.ok(existsSync(join(root, 'own', 'config.json')))
})

test('join-ring: a name of the library needs no folder', async (t: TestContext) => {
  const root = temporaryFolder(t)
  const home = join(root, 'home')
  const { info } = await startReady(t, {
    name: 'control plane',
    program: 'mesh',
    args: ['control-plane', '--port', '0', '--json'],
    home: join(root, 'services'),
  })
  await mesh(['init', '--network-id', 'home', '--name', 'Laptop', '--control-plane', String(info.url)], { home })
  await mesh(['pool-create', '--name', 'friends'], { home })
  const ask = ['join-ring', '--model-id', 'owner/tale'] as const
  assert.equal((await failure(home, ...ask)).code, 'modelNotDownloaded')
  await mesh(['model-add', story, '--name', 'owner/tale'], { home })
  const ring = await answer<{ model_id: string }>(home, ...ask)
  assert.equal(ring.model_id, 'owner/tale')
  const [{ modelDir }] = loadRingIntents(openHome(home))
  assert.equal(modelDir, story)
  assert.match(await mesh(['model-list'], { home }), /owner\/tale .*pool friends/)
})
