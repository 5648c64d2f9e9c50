/** The ledger under load, on a real SQLite file. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import Database from 'better-sqlite3'
import { allEvents, checkLedger, loadPool, prepareLoad, settleAll } from '../control-plane/test/ledger-load.ts'
import { CreditStore } from '../control-plane/store/credit-store.ts'
import { openDatabase } from '../control-plane/store/database.ts'
import { isFull } from './support/full.ts'

const fileOf = (t: TestContext): string => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-ledger-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return join(folder, 'mesh.sqlite')
}

/** All of them take 40 s: `node test/ledger.test.ts --full`. */
const jobs = isFull ? 100_000 : 25_000

test(
  `ledger: exactly zero after ${jobs} jobs with 5 % of reports lost and 5 % repeated, ` +
    'through crashes and a restart',
  (t) => {
    const file = fileOf(t)
    let database = openDatabase(file)
    t.after(() => database.close())
    prepareLoad(database.store, jobs)
    let credits = new CreditStore(database.store)
    const all = allEvents(jobs, 5)
    const batch = 2000
    for (let at = 0; at < all.length; at += batch) {
      const part = all.slice(at, at + batch)
      const work = (end: number): void =>
        credits.together(() => {
          for (const event of part.slice(0, end)) event.run(credits)
          if (end < part.length) throw new Error('the process dies')
        })
      // every tenth time the process dies on the way, and all that was not stored yet comes again
      if ((at / batch) % 10 === 0) assert.throws(() => work(batch >> 1), /dies/)
      work(part.length)
      // the time-out, soon enough that some reports come after it
      credits.together(() => {
        for (const jobId of credits.due(part[part.length - 1].at - 5, batch)) credits.settle(jobId, 1)
      })
      if (at / batch === 100) {
        database.close()
        database = openDatabase(file)
        credits = new CreditStore(database.store)
      }
    }
    settleAll(credits)
    assert.equal(credits.unsettled(loadPool), 0)
    const { entries, jobs: settled, signed, balances } = checkLedger(credits)
    t.diagnostic(`${all.length} events, ${entries} entries, ${signed} signed`)
    assert.deepEqual([settled, entries], [jobs, 4 * jobs])
    assert.ok(Math.abs(signed / entries - 0.95) < 0.02, `${signed / entries}`)

    const raw = new Database(file, { readonly: true })
    t.after(() => raw.close())
    assert.equal(raw.prepare('select sum(amount) from ledger_entries').pluck().get(), 0)
    assert.equal(
      raw
        .prepare('select count(*) from (select job_id from ledger_entries group by job_id having sum(amount) <> 0)')
        .pluck()
        .get(),
      0,
    )
    assert.equal(raw.prepare('select count(*) from job_statements').pluck().get(), 0)
    const sums = credits.ledger.sums(loadPool, 0)
    assert.deepEqual(
      new Map(sums.map(({ deviceId, earned, used }) => [deviceId, { earned, used }])),
      new Map([...balances].toSorted(([a], [b]) => (a < b ? -1 : 1))),
    )
  },
)
