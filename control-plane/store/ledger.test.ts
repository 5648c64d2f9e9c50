/** The ledger on a real SQLite file: append only, once per job. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import Database from 'better-sqlite3'
import { allEvents, checkLedger, prepareLoad, settleAll } from '../test/ledger-load.ts'
import { CreditStore } from './credit-store.ts'
import { openDatabase } from './database.ts'

const fileOf = (t: TestContext): string => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-ledger-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return join(folder, 'mesh.sqlite')
}

/** A database with ten settled jobs, and a second connection as somebody with the file would have it. */
const small = (t: TestContext): { credits: CreditStore; raw: Database.Database } => {
  const file = fileOf(t)
  const database = openDatabase(file)
  t.after(() => database.close())
  prepareLoad(database.store, 10)
  const credits = new CreditStore(database.store)
  for (const event of allEvents(10, 1)) event.run(credits)
  settleAll(credits)
  const raw = new Database(file)
  t.after(() => raw.close())
  return { credits, raw }
}

test('ledger: rows cannot be changed, removed, replaced or put in between', (t) => {
  const { credits, raw } = small(t)
  const before = checkLedger(credits)
  const columns =
    'pool_id, device_id, kind, job_id, epoch, weights, tokens, compute_us, model_weights, amount, settled_at, ' +
    'signature, hash'
  for (const [statement, problem] of [
    ['update ledger_entries set amount = 1 where sequence = 3', /cannot be changed/],
    ['delete from ledger_entries where sequence = 40', /cannot be removed/],
    ['delete from ledger_entries', /cannot be removed/],
    [
      `insert or replace into ledger_entries (sequence, ${columns}) select sequence, ` +
        `${columns} from ledger_entries where sequence = 3`,
      /must be the next one/,
    ],
    [
      `insert or replace into ledger_entries (sequence, ${columns}) select 41, ` +
        `${columns} from ledger_entries where sequence = 3`,
      /must be the next one, and new/,
    ],
    [
      `insert into ledger_entries (sequence, ${columns}) select 50, ${columns} from ledger_entries where sequence = 3`,
      /must be the next one/,
    ],
  ] as const)
    assert.throws(() => raw.exec(statement), problem, statement)
  assert.deepEqual(checkLedger(credits), before)
})

test('ledger: a row that somebody with the file changed all the same is found by its number', (t) => {
  const { credits, raw } = small(t)
  raw.exec('drop trigger ledger_entries_no_update')
  for (const [column, value] of [
    ['amount', 7],
    ['tokens', 7],
    ['weights', 7],
    ['compute_us', 7],
    ['model_weights', 7],
    ['epoch', 7],
    ['settled_at', 7],
    ['device_id', '77'.repeat(32)],
    ['job_id', 'job_77'],
    ['kind', 'use'],
    ['signature', null],
    ['hash', '77'.repeat(32)],
  ] as const) {
    // a row of a device that signed
    const row = raw
      .prepare(
        "select sequence, * from ledger_entries where kind = 'work' and signature is not null and sequence > 4 limit 1",
      )
      .get() as Record<string, unknown>
    raw.prepare(`update ledger_entries set ${column} = ? where sequence = ?`).run(value, row.sequence)
    assert.throws(
      () => checkLedger(credits),
      {
        code: 'ledgerInvalid',
        fields: {
          sequence: row.sequence as number,
          problem: 'its hash does not match: it, or one before it, was changed',
        },
      },
      column,
    )
    raw.prepare(`update ledger_entries set ${column} = ? where sequence = ?`).run(row[column], row.sequence)
  }
  checkLedger(credits)
  raw.exec('drop trigger ledger_entries_no_delete; delete from ledger_entries where sequence = 9')
  assert.throws(() => checkLedger(credits), { code: 'ledgerInvalid', message: /entry 9: an entry is missing/ })
})

test('ledger: settling twice, or what is not there, changes nothing; each pool has a chain of its own', (t) => {
  const { credits } = small(t)
  const before = checkLedger(credits)
  assert.deepEqual([credits.settle('job_1', 5), credits.settle('job_none', 5)], [false, false])
  assert.deepEqual(checkLedger(credits), before)
  assert.deepEqual(credits.ledger.entries('ef'.repeat(32), { after: 0, since: 0, limit: 9 }), [])
})
