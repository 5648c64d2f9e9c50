/**
 * Time per settled job: `node bench/settle.ts [--jobs N]`, on a database file in a temporary folder. A job is one with
 * three ranks: its end stored, four statements kept, four entries hashed and appended, each message a transaction of
 * its own, as in the control plane. Signatures are timed beside it, and so is the check of the whole ledger.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { CreditStore } from '../control-plane/store/credit-store.ts'
import { openDatabase } from '../control-plane/store/database.ts'
import { checkLedger, eventsOf, loadPool, prepareLoad } from '../control-plane/test/ledger-load.ts'
import { seeded } from '../control-plane/test/seeded.ts'
import { newKeyPair, toHex } from '../shared/identity/keys.ts'
import { holdsStatement, signStatement } from '../shared/identity/statement.ts'
import type { LedgerSummary } from '../shared/ledger/verify.ts'

const { values } = parseArgs({ options: { jobs: { type: 'string', default: '10000' } } })
const jobs = Number(values.jobs)
if (!Number.isInteger(jobs) || jobs < 1)
  throw new RangeError(`--jobs wants a whole number above zero, got ${values.jobs}`)

/** Milliseconds of one call. */
const timed = (work: () => void): number => {
  const started = performance.now()
  work()
  return performance.now() - started
}

const folder = mkdtempSync(join(tmpdir(), 'mesh-settle-'))
const database = openDatabase(join(folder, 'mesh.sqlite'))
try {
  prepareLoad(database.store, jobs)
  const credits = new CreditStore(database.store)
  const settings = { random: seeded(1), lost: 0, repeated: 0, sign: () => 'ab'.repeat(64) }
  const byJob = Array.from({ length: jobs }, (_, number) => eventsOf(number, settings))
  const perJob = byJob
    .map((events) =>
      timed(() => {
        for (const event of events) event.run(credits)
      }),
    )
    .toSorted((a, b) => a - b)
  let summary: LedgerSummary | undefined
  const checkMs = timed(() => {
    summary = checkLedger(credits)
  })
  const key = newKeyPair()
  const poolId = loadPool
  const statement = { kind: 'use', jobId: 'job_0', epoch: 1, weights: 0, tokens: 100, computeUs: 0 } as const
  let signed = signStatement(key, poolId, statement)
  const rounds = 500
  const signMs =
    timed(() => {
      for (let round = 0; round < rounds; round++) signed = signStatement(key, poolId, statement)
    }) / rounds
  const holdsMs =
    timed(() => {
      for (let round = 0; round < rounds; round++)
        if (!holdsStatement({ poolId, deviceId: toHex(key.publicKey) }, signed))
          throw new Error('a good signature does not hold')
    }) / rounds
  const at = (fraction: number): number => Number(perJob[Math.floor(fraction * (jobs - 1))].toFixed(3))
  process.stdout.write(
    `${JSON.stringify(
      {
        jobs: summary?.jobs,
        entries: summary?.entries,
        settleMsPerJob: {
          median: at(0.5),
          p99: at(0.99),
          mean: Number((perJob.reduce((a, b) => a + b, 0) / jobs).toFixed(3)),
        },
        checkMsPerJob: Number((checkMs / jobs).toFixed(4)),
        signMs: Number(signMs.toFixed(3)),
        verifySignatureMs: Number(holdsMs.toFixed(3)),
      },
      null,
      2,
    )}\n`,
  )
} finally {
  database.close()
  rmSync(folder, { recursive: true, force: true })
}
