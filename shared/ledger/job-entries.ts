/** The entries of one job: from what is known of it and what the devices said, to amounts that sum to zero. */
import type { SignedStatement } from '../schema/credits.ts'
import type { LedgerEntry } from '../schema/credits.ts'
import { billedTokens, type Dispute, disputeOf } from './agreement.ts'
import { earningsOf, priceOf } from './settlement.ts'

/** A rank of a finished job. */
interface Worker {
  readonly deviceId: string
  readonly weights: number
  /** Its sums were wrong: it earns nothing, and has no say. */
  readonly isWrong?: boolean
}

/** A finished job as the control plane knows it. */
export interface FinishedJob {
  readonly jobId: string
  readonly submittedBy: string
  readonly epoch: number
  readonly modelWeights: number
  /** Prompt and answer, as rank 0 says. */
  readonly tokens: number
  /** The most that prompt and answer can have had. */
  readonly mostTokens: number
  /** By rank, as the plan of the epoch says. */
  readonly workers: readonly Worker[]
}

/** A statement and who made it. */
export type StatementOf = SignedStatement & { readonly deviceId: string }

export type EntryDraft = Omit<LedgerEntry, 'sequence' | 'hash'>

/**
 * A worker's statement counts if it speaks of the shard that the plan gave it, and of no more than the job can have
 * had.
 */
const isWork = (job: FinishedJob, { kind, deviceId, jobId, epoch, weights, tokens }: StatementOf): boolean =>
  kind === 'work' &&
  jobId === job.jobId &&
  epoch === job.epoch &&
  tokens <= job.mostTokens &&
  job.workers.some((worker) => worker.deviceId === deviceId && worker.weights === weights && !worker.isWrong)

/** A submitter's statement counts if it names the tokens that are billed. */
const isUse = (job: FinishedJob, tokens: number, statement: StatementOf): boolean =>
  statement.kind === 'use' &&
  statement.jobId === job.jobId &&
  statement.epoch === job.epoch &&
  statement.deviceId === job.submittedBy &&
  statement.tokens === tokens &&
  statement.weights === 0 &&
  statement.computeUs === 0

export interface Bill {
  readonly tokens: number
  /** Rank 0 claimed another number than follows from what was signed. */
  readonly isCorrected: boolean
  /** Who signed another number than the others. */
  readonly disputedBy: readonly string[]
  readonly undecided: boolean
}

/** The bill of a job by what is known so far: what rank 0 claims, as far as the ranks signed it (`agreement.ts`). */
export const billOf = (job: FinishedJob, statements: readonly StatementOf[]): Bill => {
  const work = job.workers.flatMap(
    ({ deviceId }) => statements.find((one) => one.deviceId === deviceId && isWork(job, one)) ?? [],
  )
  const signed = work.map(({ tokens }) => tokens)
  const { by, undecided }: Dispute = disputeOf(signed) ?? { by: [], undecided: false }
  const tokens = billedTokens(job.tokens, signed)
  return { tokens, isCorrected: tokens !== job.tokens, disputedBy: by.map((index) => work[index].deviceId), undecided }
}

/** Does a statement fit the job, by what the others said so far? */
export const isAbout = (job: FinishedJob, statement: StatementOf, others: readonly StatementOf[] = []): boolean =>
  isWork(job, statement) || isUse(job, billOf(job, others).tokens, statement)

/** All devices of the job made a statement that counts. */
export const isComplete = (job: FinishedJob, statements: readonly StatementOf[]): boolean => {
  const good = statements.filter((statement) => isAbout(job, statement, statements))
  return (
    good.some(({ kind }) => kind === 'use') &&
    job.workers.every(
      ({ deviceId, isWrong }) => isWrong || good.some((one) => one.kind === 'work' && one.deviceId === deviceId),
    )
  )
}

/** What the control plane says in place of a device that stayed silent. */
const inPlaceOf = (
  { jobId, epoch }: FinishedJob,
  kind: 'work' | 'use',
  { weights, tokens }: { weights: number; tokens: number },
) => ({ kind, jobId, epoch, weights, tokens, computeUs: 0, signature: null })

/** @returns what each worker earned, by rank, and last what the submitter used; the amounts sum to zero */
export const entriesOf = (job: FinishedJob, statements: readonly StatementOf[], settledAt: number): EntryDraft[] => {
  const { tokens } = billOf(job, statements)
  const work = job.workers.map(
    ({ deviceId, weights, isWrong }) =>
      statements.find((one) => one.deviceId === deviceId && isWork(job, one)) ?? {
        deviceId,
        ...inPlaceOf(job, 'work', { weights, tokens: isWrong ? 0 : tokens }),
      },
  )
  const use = statements.find((one) => isUse(job, tokens, one)) ?? {
    deviceId: job.submittedBy,
    ...inPlaceOf(job, 'use', { weights: 0, tokens }),
  }
  const price = priceOf(job.modelWeights, tokens)
  const earned = earningsOf(price, tokens, work)
  const common = { modelWeights: job.modelWeights, settledAt }
  return [
    ...work.map((one, rank) => ({ ...one, ...common, amount: earned[rank] })),
    { ...use, ...common, amount: price === 0 ? 0 : -price },
  ]
}
