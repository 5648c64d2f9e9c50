import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { temporaryFolder } from '../test/support/homes.ts'
import { MeshError } from './errors.ts'
import { openHome, readState, readStateJson, writeState, writeStateJson } from './home.ts'

const code =
  (wanted: string) =>
  (error: unknown): boolean =>
    error instanceof MeshError && error.code === wanted

describe('home', () => {
  it('every path lies under the root', (t) => {
    const root = temporaryFolder(t)
    const home = openHome(root)
    const pool = home.pool('ab')
    const paths = [
      home.deviceKey,
      home.config,
      home.pools,
      home.models,
      home.shards,
      home.agentState,
      home.rings,
      home.outbox.answers,
      home.outbox.reports,
      pool.folder,
      pool.config,
      pool.certificate,
      pool.rootKey,
      home.controlPlane.database,
      home.relay.key,
      home.relay.config,
    ]
    for (const path of paths) assert.ok(path.startsWith(`${root}/`), path)
    assert.equal(new Set(paths).size, paths.length)
  })

  it('a written file is read back, its folders are made, and nothing else is left', (t) => {
    const file = join(temporaryFolder(t), 'a', 'b', 'c.json')
    writeStateJson(file, { value: 1 })
    writeStateJson(file, { value: 2 })
    assert.deepEqual(readStateJson(file), { value: 2 })
    assert.deepEqual(readdirSync(join(file, '..')), ['c.json'])
  })

  it('a key file is readable by its owner alone, and so is its folder', (t) => {
    const file = join(temporaryFolder(t), 'keys', 'device.key')
    writeState(file, 'secret', 0o600)
    assert.equal(statSync(file).mode & 0o777, 0o600)
    assert.equal(statSync(join(file, '..')).mode & 0o777, 0o700)
  })

  it('a missing file is undefined, a folder in its place is an error', (t) => {
    const root = temporaryFolder(t)
    assert.equal(readState(join(root, 'none')), undefined)
    assert.equal(readStateJson(join(root, 'none')), undefined)
    mkdirSync(join(root, 'folder'))
    assert.throws(() => readState(join(root, 'folder')), code('stateUnreadable'))
  })

  it('half a JSON file is named, not taken', (t) => {
    const file = join(temporaryFolder(t), 'x.json')
    writeFileSync(file, '{"value": ')
    assert.throws(
      () => readStateJson(file),
      (error: unknown) => code('stateUnreadable')(error) && (error as Error).message.includes(file),
    )
  })

  it('a failed write keeps the old content and leaves no temporary file', (t) => {
    const root = temporaryFolder(t)
    const file = join(root, 'folder')
    mkdirSync(file)
    writeFileSync(join(file, 'inside'), 'kept')
    assert.throws(() => writeState(file, 'new'), code('stateUnwritable')) // a file cannot replace a folder
    assert.equal(readFileSync(join(file, 'inside'), 'utf8'), 'kept')
    assert.deepEqual(readdirSync(root), ['folder'])
  })

  it('a folder below a file cannot be made', (t) => {
    const root = temporaryFolder(t)
    writeFileSync(join(root, 'file'), '')
    chmodSync(join(root, 'file'), 0o600)
    assert.throws(() => writeState(join(root, 'file', 'x'), 'new'), code('stateUnwritable'))
  })
})
