/**
 * Jobs by the thousand on a real database, their reports late, lost and repeated: for the test of the ledger and its
 * benchmark.
 */
import { type FinishedJob, isComplete } from '../../shared/ledger/job-entries.ts'
import { heldWeights, planShards, weightsOf } from '../../shared/plan/shard-plan.ts'
import type { ModelShape } from '../../shared/schema/model.ts'
import { LedgerCheck, type LedgerSummary } from '../../shared/ledger/verify.ts'
import type { SignedStatement } from '../../shared/schema/credits.ts'
import { CreditStore } from '../store/credit-store.ts'
import type { Store } from '../store/database.ts'
import { jobs, networks, pools } from '../store/tables.ts'
import { submission } from './plane.ts'
import { seeded } from './seeded.ts'

export const loadPool = 'ab'.repeat(32)
const model: ModelShape = {
  layers: 22,
  hidden: 2048,
  heads: 32,
  kvHeads: 4,
  headDim: 64,
  ffn: 5632,
  vocab: 32_000,
  context: 2048,
}
const shares = [3, 2, 1]
const plan = planShards(model, shares)
export const loadDevices = ['11', '22', '33', '44', '55'].map((byte) => byte.repeat(32))

/** A pool, and `count` jobs as they stand in the table when they have ended. */
export const prepareLoad = (store: Store, count: number): void => {
  store.transaction((tx) => {
    tx.insert(networks).values({ networkId: 'home', createdAt: 0 }).run()
    tx.insert(pools)
      .values({ poolId: loadPool, networkId: 'home', name: 'load', rootPublicKey: 'cd'.repeat(32), createdAt: 0 })
      .run()
    const common = {
      poolId: loadPool,
      modelId: 'tiny',
      submission: submission('load'),
      state: 'done',
      worldSize: 3,
      epoch: 1,
      received: 0,
      createdAt: 0,
    } as const
    for (let at = 0; at < count; at += 500) {
      tx.insert(jobs)
        .values(
          Array.from({ length: Math.min(500, count - at) }, (_, index) => ({
            ...common,
            jobId: `job_${at + index}`,
            submittedBy: loadDevices[0],
            idempotencyKey: `key-${at + index}`,
          })),
        )
        .run()
    }
  })
}

export interface Event {
  readonly at: number
  run(credits: CreditStore): void
}

export interface LoadSettings {
  readonly random: () => number
  /** Probability that a report never comes, and that it comes twice. */
  readonly lost: number
  readonly repeated: number
  /** Signature of a statement that a device makes. */
  sign(deviceId: string, statement: Omit<SignedStatement, 'signature'>): string
}

/** Everything that happens to one job: it ends at its own number as time, reports come around that, before or after. */
export const eventsOf = (number: number, { random, lost, repeated, sign }: LoadSettings): Event[] => {
  const tokens = 1 + Math.floor(random() * 2000)
  const job: FinishedJob = {
    jobId: `job_${number}`,
    submittedBy: loadDevices[Math.floor(random() * loadDevices.length)],
    epoch: 1,
    modelWeights: weightsOf(model),
    tokens,
    mostTokens: tokens,
    workers: plan.map((ranges, rank) => ({ deviceId: loadDevices[rank], weights: heldWeights(model, ranges) })),
  }
  const open: Event = { at: number, run: (credits) => credits.open(loadPool, job, number) }
  const said: (readonly [string, Omit<SignedStatement, 'signature'>])[] = [
    ...job.workers.map(
      ({ deviceId, weights }) =>
        [
          deviceId,
          {
            kind: 'work' as const,
            jobId: job.jobId,
            epoch: 1,
            weights,
            tokens,
            computeUs: 1 + Math.floor(random() * tokens * 1000),
          },
        ] as const,
    ),
    [job.submittedBy, { kind: 'use', jobId: job.jobId, epoch: 1, weights: 0, tokens, computeUs: 0 }],
  ]
  const reports = said.flatMap(([deviceId, statement]): Event[] => {
    if (random() < lost) return []
    const signed: SignedStatement = { ...statement, signature: sign(deviceId, statement) }
    const report = (): Event => ({
      at: number + 20 * random() - 2,
      run: (credits) => keepAndSettle(credits, deviceId, signed),
    })
    return random() < repeated ? [report(), report()] : [report()]
  })
  return [open, ...(random() < repeated ? [{ ...open, at: number + 5 }] : []), ...reports]
}

/** As the service does it: a statement of a settled job is dropped, one that makes a job whole settles it. */
const keepAndSettle = (credits: CreditStore, deviceId: string, statement: SignedStatement): void => {
  const job = credits.find(statement.jobId)
  if (job?.isSettled) return
  credits.keep(deviceId, statement)
  if (job && isComplete(job, credits.statements(job.jobId))) credits.settle(job.jobId, job.finishedAt)
}

/** Checks the whole chain, without signatures. */
export const checkLedger = (credits: CreditStore): LedgerSummary => {
  const checking = new LedgerCheck({ poolId: loadPool, signatures: false })
  for (let after = 0; ;) {
    const entries = credits.ledger.entries(loadPool, { after, since: 0, limit: 1000 })
    checking.push(entries)
    if (entries.length === 0) return checking.finish()
    after = entries[entries.length - 1].sequence
  }
}

/** Everything that happens to that many jobs, in order of time: 5 % of reports lost, 5 % repeated. */
export const allEvents = (count: number, seed: number): Event[] => {
  // signatures are checked before anything is stored: what is stored may be any 64 bytes here
  const settings = { random: seeded(seed), lost: 0.05, repeated: 0.05, sign: () => 'ab'.repeat(64) }
  return Array.from({ length: count }, (_, number) => eventsOf(number, settings))
    .flat()
    .toSorted((a, b) => a.at - b.at)
}

/** What the time-out does with all that is left. */
export const settleAll = (credits: CreditStore): void => {
  const due = credits.due(Number.MAX_SAFE_INTEGER, 1_000_000)
  credits.together(() => {
    for (const jobId of due) credits.settle(jobId, 1)
  })
}
