import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import { newJobId } from '../../shared/ids.ts'
import { submission } from '../test/plane.ts'
import * as creditTables from './credit-tables.ts'
import { openDatabase } from './database.ts'
import { DeviceStore } from './device-store.ts'
import { JobStore } from './job-store.ts'
import { JobTexts } from './job-texts.ts'
import { apiKeys } from './key-tables.ts'
import { resourceLocks } from './lock-tables.ts'
import { requestNonces, revocations } from './membership-tables.ts'
import { TextVault } from './text-vault.ts'
import { devices, jobEvents, jobs, joinRequests, memberships, networks, pools, rings, ringIntents } from './tables.ts'

const migrations = fileURLToPath(new URL('./migrations', import.meta.url))
const tables = [
  'api_keys',
  'billed_jobs',
  'control_plane_pins',
  'credit_days',
  'devices',
  'job_events',
  'job_statements',
  'jobs',
  'join_requests',
  'ledger_entries',
  'memberships',
  'networks',
  'participants',
  'pools',
  'request_nonces',
  'resource_locks',
  'revocations',
  'ring_wishes',
  'rings',
  'sum_findings',
]

const texts = new JobTexts(new TextVault(Buffer.alloc(32, 7)))

const fileOf = (t: TestContext): string => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-database-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return join(folder, 'deep', 'mesh.sqlite')
}

test('database: an empty folder gets every table, WAL and foreign keys', (t) => {
  const file = fileOf(t)
  const { store, close } = openDatabase(file)
  t.after(close)
  const raw = new Database(file, { readonly: true })
  const found = raw
    .prepare(
      "select name from sqlite_master where type = 'table' and name not like '\\_\\_%' escape '\\' order by name",
    )
    .pluck()
    .all()
  assert.deepEqual(found, tables)
  assert.equal(raw.pragma('journal_mode', { simple: true }), 'wal')
  raw.close()
  // every column that the code names is there
  for (const table of [
    apiKeys,
    devices,
    jobEvents,
    jobs,
    joinRequests,
    memberships,
    networks,
    pools,
    requestNonces,
    resourceLocks,
    revocations,
    rings,
    ringIntents,
    ...Object.values(creditTables),
  ])
    assert.deepEqual(store.select().from(table).all(), [])
  assert.throws(
    () => store.insert(ringIntents).values({ ringId: 'none', deviceId: 'none', share: 1, joinedAt: 0 }).run(),
    /FOREIGN KEY/,
  )
})

if (process.platform !== 'win32')
  test('database: what is kept is for its owner alone, also in a folder that all can read, and where it was readable before', (t) => {
    const folder = dirname(fileOf(t))
    const file = join(folder, 'mesh.sqlite')
    mkdirSync(folder, { mode: 0o755 })
    const modes = (): string[] =>
      readdirSync(folder)
        .toSorted()
        .map((name) => `${name} ${(statSync(join(folder, name)).mode & 0o777).toString(8)}`)
    const first = openDatabase(file)
    t.after(first.close)
    assert.deepEqual(modes(), ['mesh.sqlite 600', 'mesh.sqlite-shm 600', 'mesh.sqlite-wal 600'])
    for (const name of readdirSync(folder)) chmodSync(join(folder, name), 0o644)
    const second = openDatabase(file)
    t.after(second.close)
    assert.deepEqual(modes(), ['mesh.sqlite 600', 'mesh.sqlite-shm 600', 'mesh.sqlite-wal 600'])
  })

test('database: a file of the first version is brought up to date and keeps its rows', (t) => {
  const file = fileOf(t)
  openDatabase(file).close()
  // back to the first version: its schema, and the record of that one migration
  const raw = new Database(file)
  raw.pragma('foreign_keys = OFF')
  for (const name of tables) raw.exec(`drop table ${name}`)
  for (const statement of readFileSync(join(migrations, '0000_initial.sql'), 'utf8').split('--> statement-breakpoint'))
    raw.exec(statement)
  raw.exec('delete from __drizzle_migrations where created_at > (select min(created_at) from __drizzle_migrations)')
  raw.exec("insert into networks values ('home', 1)")
  raw.exec("insert into pools values ('p', 'home', 'Friends', 'key', 1)")
  raw
    .prepare(
      "insert into jobs values ('job_1', 'p', 'd', 'key-12345', 'tiny', ?, 'queued', 0, 0, 0, null, 5, null, null)",
    )
    .run(JSON.stringify(submission('old')))
  raw.close()

  const { store, close } = openDatabase(file)
  t.after(close)
  assert.equal(new JobStore(store, texts).head('job_1')?.isCancelled, false)
  assert.equal(new JobStore(store, texts).find('job_1')?.createdAt, 5)
})

test('database: opening twice changes nothing', (t) => {
  const file = fileOf(t)
  const first = openDatabase(file)
  const registration = {
    networkId: 'home',
    name: 'A',
    capabilities: { cpuCores: 1, memoryBytes: 1, platform: 'x', arch: 'y', backends: [] },
  }
  new DeviceStore(first.store).register('a'.repeat(64), registration, 7)
  first.close()
  const second = openDatabase(file)
  t.after(second.close)
  assert.equal(new DeviceStore(second.store).find('a'.repeat(64))?.createdAt, 7)
})

test('database: a file that is no database, and a folder in its place, are clear errors', (t) => {
  const file = fileOf(t)
  openDatabase(file).close()
  writeFileSync(file, 'this is not a database, but it is long enough to be read as one'.repeat(20))
  assert.throws(() => openDatabase(file), { code: 'stateUnreadable', message: /not a database/ })
  assert.throws(() => openDatabase(join(file, '..')), { code: 'stateUnreadable' })
})

test('database: every migration file is in the journal, in order', () => {
  const { entries } = JSON.parse(readFileSync(join(migrations, 'meta', '_journal.json'), 'utf8')) as {
    entries: { tag: string; when: number }[]
  }
  assert.deepEqual(
    entries.map(({ tag }) => `${tag}.sql`),
    readdirSync(migrations)
      .filter((name) => name.endsWith('.sql'))
      .toSorted(),
  )
  assert.deepEqual(
    entries,
    entries.toSorted((a, b) => a.when - b.when),
  )
})

test('jobs: tokens are stored once, whole messages in order, and none after the end', (t) => {
  const { store, close } = openDatabase(fileOf(t))
  t.after(close)
  new DeviceStore(store).register(
    'd'.repeat(64),
    {
      networkId: 'home',
      name: 'D',
      capabilities: { cpuCores: 1, memoryBytes: 1, platform: 'x', arch: 'y', backends: [] },
    },
    0,
  )
  store.insert(pools).values({ poolId: 'p', networkId: 'home', name: 'P', rootPublicKey: 'k', createdAt: 0 }).run()
  const jobStore = new JobStore(store, texts)
  const { jobId } = jobStore.submit(newJobId(), { poolId: 'p', submittedBy: 'd', submission: submission('x') }, 1)
  const add = (first: number, tokens: number[], text: string): boolean =>
    jobStore.addTokens(jobId, first, tokens, text) !== undefined
  assert.deepEqual(
    [add(0, [1, 2], 'ab'), add(0, [1, 2], 'ab'), add(3, [4], 'd'), add(1, [2, 3], 'bc'), add(2, [3], 'c')],
    [true, false, false, false, true],
  )
  assert.deepEqual(jobStore.find(jobId)?.tokens, [1, 2, 3])
  const end = jobStore.finish(
    jobId,
    { state: 'done', text: 'abcd', tokens: [1, 2, 3, 4], finishReason: 'stop' },
    { now: 9 },
  )
  assert.deepEqual(
    end.map(({ type }) => type),
    ['tokens', 'end'],
  )
  assert.deepEqual(jobStore.finish(jobId, { state: 'failed', text: '', tokens: [] }, { now: 10 }), [])
  assert.equal(add(4, [5], 'e'), false)
  assert.deepEqual(
    jobStore.events(jobId, -1).map(({ sequence }) => sequence),
    [0, 1, 2, 3, 4],
  )
  assert.equal(jobStore.find(jobId)?.text, 'abcd')
})
