/** The entries of one job: from what is known of it and what the devices said, to amounts that sum to zero. */
import type { SignedStatement } from '../schema/credits.ts'
import type { LedgerEntry } from '../schema/credits.ts'
import { earningsOf, priceOf } from './settlement.ts'

/** A finished job as the control plane knows it. */
export interface FinishedJob {
  readonly jobId: string
  readonly submittedBy: string
  readonly epoch: number
  readonly modelWeights: number
  /** Prompt and answer. */
  readonly tokens: number
  /** By rank, as the plan of the epoch says. */
  readonly workers: readonly { readonly deviceId: string; readonly weights: number }[]
}

/** A statement and who made it. */
export type StatementOf = SignedStatement & { readonly deviceId: string }

export type EntryDraft = Omit<LedgerEntry, 'sequence' | 'hash'>

/** A worker's statement counts if it speaks of the shard that the plan gave it, a submitter's if it names the tokens of the job. */
export const isAbout = (job: FinishedJob, { kind, deviceId, ...statement }: StatementOf): boolean => {
  if (statement.jobId !== job.jobId || statement.epoch !== job.epoch) return false
  if (kind === 'use') return deviceId === job.submittedBy && statement.tokens === job.tokens && statement.weights === 0 && statement.computeUs === 0
  return job.workers.some((worker) => worker.deviceId === deviceId && worker.weights === statement.weights)
}

/** All devices of the job made a statement that counts. */
export const isComplete = (job: FinishedJob, statements: readonly StatementOf[]): boolean => {
  const good = statements.filter((statement) => isAbout(job, statement))
  return good.some(({ kind }) => kind === 'use') && job.workers.every(({ deviceId }) => good.some((one) => one.kind === 'work' && one.deviceId === deviceId))
}

/** What the control plane says in place of a device that stayed silent. */
const inPlaceOf = (job: FinishedJob, kind: 'work' | 'use', weights: number): Omit<EntryDraft, 'deviceId' | 'amount' | 'settledAt' | 'modelWeights'> =>
  ({ kind, jobId: job.jobId, epoch: job.epoch, weights, tokens: job.tokens, computeUs: 0, signature: null })

/** @returns what each worker earned, by rank, and last what the submitter used; the amounts sum to zero */
export const entriesOf = (job: FinishedJob, statements: readonly StatementOf[], settledAt: number): EntryDraft[] => {
  const said = (kind: 'work' | 'use', deviceId: string, weights: number) =>
    statements.find((one) => one.kind === kind && one.deviceId === deviceId && isAbout(job, one)) ?? { deviceId, ...inPlaceOf(job, kind, weights) }
  const work = job.workers.map(({ deviceId, weights }) => said('work', deviceId, weights))
  const price = priceOf(job.modelWeights, job.tokens)
  const earned = earningsOf(price, job.tokens, work)
  const common = { modelWeights: job.modelWeights, settledAt }
  return [
    ...work.map((one, rank) => ({ ...one, ...common, amount: earned[rank] })),
    { ...said('use', job.submittedBy, 0), ...common, amount: price === 0 ? 0 : -price },
  ]
}
