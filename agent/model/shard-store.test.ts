/** Shards on disk: what uses them, and what goes when there is no room. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, renameSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { writeStateJson } from '../../shared/home.ts'
import { temporaryFolder } from '../../test/support/homes.ts'
import { makeRoom, ringsOf, shardsToRemove } from './shard-room.ts'
import {
  claimShard,
  listShards,
  releaseShard,
  removeAbandoned,
  removeShard,
  type ShardUse,
  type StoredShard,
  temporaryFolderFor,
} from './shard-store.ts'

const poolId = 'ab'.repeat(32)
const use: ShardUse = { poolId, modelId: 'owner/name' }
const about = {
  modelId: 'owner/name',
  revision: 'c'.repeat(64),
  quant: 'q8',
  ranges: {
    kvHeads: { start: 0, end: 1 },
    heads: { start: 0, end: 2 },
    ffn: { start: 0, end: 4 },
    vocab: { start: 0, end: 8 },
  },
} as const
const deadPid = spawnSync(process.execPath, ['--version']).pid

/** Makes a shard of that many bytes besides its index. */
const makeShard = (root: string, digit: string, bytes: number): string => {
  const folder = join(root, digit.repeat(64))
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'weights.bin'), Buffer.alloc(bytes))
  writeStateJson(join(folder, 'index.json'), { about, bytes })
  return folder
}
const find = (root: string, digit: string): StoredShard =>
  listShards(root).find(({ hash }) => hash.startsWith(digit)) as StoredShard
const root = (t: TestContext): string => temporaryFolder(t)

describe('shards on disk', () => {
  it('there are none in a folder that is not there', (t) => assert.deepEqual(listShards(join(root(t), 'none')), []))

  it('a shard tells its model, its size with all files, and when it was used', (t) => {
    const folder = root(t)
    const shard = makeShard(folder, '1', 1000)
    utimesSync(join(shard, 'index.json'), 100, 100)
    writeFileSync(join(shard, 'graph.onnx'), 'x'.repeat(50))
    mkdirSync(join(folder, 'something else'))
    const [found, ...others] = listShards(folder)
    assert.deepEqual(
      [found.about, found.uses, found.lastUse, found.usedAt, others],
      [about, [], undefined, 100_000, []],
    )
    assert.ok(found.bytes > 1050 && found.bytes < 2000)
  })

  it('a shard whose small files are damaged is listed all the same', (t) => {
    const folder = root(t)
    const shard = makeShard(folder, '1', 10)
    for (const name of ['index.json', 'last-use.json', 'use-00.json']) writeFileSync(join(shard, name), '{')
    const found = find(folder, '1')
    assert.deepEqual([found.about, found.uses, found.lastUse], [undefined, [], undefined])
  })

  it('a claim holds until it is released; the last use is remembered', (t) => {
    const folder = root(t)
    const shard = makeShard(folder, '1', 10)
    const [one, two] = [claimShard(shard, use), claimShard(shard, { ...use, modelId: 'other' })]
    assert.equal(removeShard(find(folder, '1')), false)
    assert.deepEqual(
      find(folder, '1')
        .uses.map(({ modelId }) => modelId)
        .toSorted(),
      ['other', 'owner/name'],
    )
    releaseShard({ folder: shard, claim: one })
    assert.equal(removeShard(find(folder, '1')), false)
    releaseShard({ folder: shard, claim: two })
    const { lastUse, usedAt, uses } = find(folder, '1')
    assert.deepEqual(uses, [])
    assert.equal(lastUse?.modelId, 'other')
    assert.ok(Math.abs(usedAt - Date.now()) < 60_000)
    assert.equal(removeShard(find(folder, '1')), true)
    assert.deepEqual(readdirSync(folder), [])
  })

  it('a claim of a process that is gone, or of one that got its number, holds nothing', (t) => {
    const folder = root(t)
    const shard = makeShard(folder, '1', 10)
    writeStateJson(join(shard, 'use-aa.json'), { ...use, pid: deadPid })
    writeStateJson(join(shard, 'use-bb.json'), { ...use, pid: process.pid, mark: 'of another boot' })
    assert.deepEqual(find(folder, '1').uses, process.platform === 'linux' ? [] : [use])
    writeStateJson(join(shard, 'use-bb.json'), { ...use, pid: deadPid, mark: 'of another boot' })
    assert.equal(removeShard(find(folder, '1')), true)
  })

  it('what is gone already is not removed', (t) => {
    const folder = root(t)
    makeShard(folder, '1', 10)
    const found = find(folder, '1')
    assert.equal(removeShard(found), true)
    assert.equal(removeShard(found), false)
  })

  it('half made folders of killed processes go, those of running ones stay', (t) => {
    const folder = root(t)
    const running = temporaryFolderFor(join(folder, '1'.repeat(64)))
    mkdirSync(running)
    const left = temporaryFolderFor(makeShard(folder, '2', 500)).replace(`.${process.pid}.`, `.${deadPid}.`)
    renameSync(join(folder, '2'.repeat(64)), left)
    // of an older version
    const [old, fresh] = ['a', 'b'].map((digit) => join(folder, `${digit.repeat(64)}.01234567.tmp`))
    mkdirSync(old)
    mkdirSync(fresh)
    utimesSync(old, 1000, 1000)
    assert.ok(removeAbandoned(folder) >= 500)
    assert.deepEqual(
      [left, old, fresh, running].map((path) => existsSync(path)),
      [false, false, true, true],
    )
    assert.equal(removeAbandoned(folder), 0)
  })
})

describe('room for shards', () => {
  const shard = (hash: string, bytes: number, change: Partial<StoredShard> = {}): StoredShard => ({
    hash,
    folder: hash,
    bytes,
    about,
    uses: [],
    lastUse: undefined,
    usedAt: 0,
    ...change,
  })
  const last = (modelId: string): Pick<StoredShard, 'lastUse'> => ({ lastUse: { poolId, modelId, at: 1 } })
  const names = (shards: readonly StoredShard[]): string => shards.map(({ hash }) => hash).join('')

  it('a ring needs the shard that is loaded for it, and the one that was last while it is wanted', () => {
    const shards = [
      shard('a', 1, { ...last('x'), uses: [{ poolId, modelId: 'x' }] }),
      shard('b', 1, last('x')),
      shard('c', 1, last('y')),
      shard('d', 1, last('z')),
      shard('e', 1),
    ]
    const intents = [
      { poolId, modelId: 'x' },
      { poolId, modelId: 'y' },
      { poolId: 'cd'.repeat(32), modelId: 'z' },
    ]
    assert.deepEqual(
      shards.map((one) => ringsOf(one, shards, intents)),
      [[{ poolId, modelId: 'x' }], [], [{ poolId, modelId: 'y' }], [], []],
    )
    assert.deepEqual(ringsOf(shards[0], shards, []), [{ poolId, modelId: 'x' }]) // left, and still loaded
    const two = shard('f', 1, {
      ...last('x'),
      uses: [
        { poolId, modelId: 'w' },
        { poolId, modelId: 'w' },
      ],
    })
    assert.deepEqual(ringsOf(two, [two], intents), [
      { poolId, modelId: 'w' },
      { poolId, modelId: 'x' },
    ])
  })

  it('the one unused for longest goes first, no more than needed, and none that is used', () => {
    const shards = [
      shard('a', 10, last('x')),
      shard('b', 10),
      shard('c', 10, { uses: [use] }),
      shard('d', 10),
      shard('e', 10),
    ] // 50 bytes
    const removed = (maxBytes: number, neededBytes = 0): string =>
      names(shardsToRemove(shards, [{ poolId, modelId: 'x' }], { maxBytes, neededBytes }))
    assert.deepEqual(
      [removed(50), removed(49), removed(40), removed(39), removed(25), removed(0)],
      ['', 'e', 'e', 'ed', 'edb', 'edb'],
    )
    assert.deepEqual([removed(60, 10), removed(60, 11), removed(60, 1000)], ['', 'e', 'edb'])
  })

  it('room is made on disk', (t) => {
    const folder = temporaryFolder(t)
    const [old, kept] = [makeShard(folder, '1', 4000), makeShard(folder, '2', 4000)]
    utimesSync(join(old, 'index.json'), 100, 100)
    const { bytes } = find(folder, '2')
    const { removed, bytes: freed } = makeRoom(folder, { intents: [], maxBytes: bytes, neededBytes: 0 })
    assert.deepEqual([names(removed), freed, existsSync(old), existsSync(kept)], ['1'.repeat(64), bytes, false, true])
    assert.deepEqual(makeRoom(folder, { intents: [], maxBytes: bytes, neededBytes: 0 }), { removed: [], bytes: 0 })
  })
})
