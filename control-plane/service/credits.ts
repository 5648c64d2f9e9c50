/** Credits as they arise: jobs end, devices say what they did and got, and each job is settled once. */
import { MeshError } from '../../shared/errors.ts'
import { holdsStatement } from '../../shared/identity/statement.ts'
import type { BilledJob, CreditStore } from '../store/credit-store.ts'
import { billOf, isAbout, isComplete } from '../../shared/ledger/job-entries.ts'
import type { Logger } from '../../shared/log.ts'
import { heldWeights, weightsOf } from '../../shared/plan/shard-plan.ts'
import type { CreditsView, LedgerPage, QuotaView, SignedStatement } from '../../shared/schema/credits.ts'
import type { Job } from '../../shared/schema/job.ts'
import { limits } from '../../shared/limits.ts'
import { finalStates, type JobResult } from '../domain/job-state.ts'
import { mostTokens } from '../domain/job-tokens.ts'
import { type Contributor, type GraceSettings, queueWeights } from '../domain/queue-share.ts'
import { standingsOf } from '../domain/standing.ts'
import type { DeviceStore } from '../store/device-store.ts'
import type { JobQueueStore } from '../store/job-queue-store.ts'
import type { JobStore } from '../store/job-store.ts'
import type { LedgerStore } from '../store/ledger-store.ts'
import type { RingStore, StoredRing } from '../store/ring-store.ts'
import type { Background } from './background.ts'
import type { SumChecks } from './sum-checks.ts'

export interface CreditSettings extends GraceSettings {
  /** How long statements are waited for after the end of a job, in milliseconds. */
  readonly settleMs: number
  /** What was contributed within that time decides the queue, to the day. */
  readonly windowMs: number
}

export const defaultCreditSettings: CreditSettings = {
  settleMs: 120_000,
  windowMs: 30 * 86_400_000,
  graceMs: 7 * 86_400_000,
  graceShare: 50_000,
}

export interface CreditsOptions {
  readonly creditStore: CreditStore
  readonly ledgerStore: LedgerStore
  readonly jobStore: JobStore
  readonly jobQueueStore: JobQueueStore
  readonly ringStore: RingStore
  readonly deviceStore: DeviceStore
  readonly sums: Pick<SumChecks, 'isWrong'>
  readonly background: Background
  readonly now: () => number
  readonly settings: CreditSettings
  readonly logger: Logger
}

/** Jobs settled in one go when many are due: the process has other things to do in between. */
const settledAtOnce = 200

export class Credits {
  readonly #options: CreditsOptions
  readonly #timer: NodeJS.Timeout

  constructor(options: CreditsOptions) {
    this.#options = options
    this.#timer = setInterval(
      () => options.background.run('settling jobs', () => this.settleDue()),
      Math.min(30_000, Math.max(50, options.settings.settleMs / 4)),
    )
    this.#timer.unref()
  }

  /** The process may have ended between the last statement of a job and its settlement. */
  recover(): void {
    const { creditStore, now } = this.#options
    for (const jobId of creditStore.due(now(), Number.MAX_SAFE_INTEGER)) this.#trySettling(jobId)
  }

  /** A member takes part: from the first time on it is no stranger any more. */
  join(poolId: string, deviceId: string): void {
    this.#options.ledgerStore.join(poolId, deviceId, this.#options.now())
  }

  /**
   * Stores the end of a job that a ring ran, and that it is to be settled, as one.
   * @param tokens that rank 0 says were used, as far as they can have been. @param finish stores the end
   */
  end<T>(
    job: Job,
    ring: StoredRing | undefined,
    { result, tokens }: { readonly result: JobResult; readonly tokens: number },
    finish: () => T,
  ): T {
    const { creditStore, sums, now, logger } = this.#options
    const ended = creditStore.together(() => {
      const ends = finish()
      if (!ring || tokens === 0) creditStore.forget(job.jobId)
      else {
        const { shape } = ring.model
        const most = mostTokens(job.submission, shape, result.tokens.length)
        const { jobId, submittedBy, epoch } = job
        const workers = ring.members.map(({ deviceId, ranges }) => ({
          deviceId,
          weights: heldWeights(shape, ranges),
          ...(sums.isWrong(ring.ringId, epoch, deviceId) ? { isWrong: true } : {}),
        }))
        creditStore.open(
          job.poolId,
          { jobId, submittedBy, epoch, modelWeights: weightsOf(shape), tokens, mostTokens: most, workers },
          now(),
        )
        const claimed = (result.usage?.promptTokens ?? 0) + result.tokens.length
        if (claimed > most)
          logger.warn(
            { job: jobId, device: workers[0].deviceId, claimed, most },
            'rank 0 claims more tokens than the job can have had',
          )
      }
      return ends
    })
    this.#trySettling(job.jobId)
    return ended
  }

  /** A job ended that no ring has: there is nothing to settle. */
  forget(jobId: string): void {
    this.#options.creditStore.forget(jobId)
  }

  /** The sums of a device in a job that ended turned out to be wrong: what is not settled yet brings it nothing. */
  spoil(jobId: string, deviceId: string): void {
    this.#options.background.run('marking a job as spoiled', () => {
      this.#options.creditStore.spoil(jobId, deviceId)
      this.#trySettling(jobId)
    })
  }

  /** What a rank says it did. What does not hold is logged, and never asked for again. */
  receive(deviceId: string, poolId: string, report: SignedStatement): void {
    const { jobStore, creditStore, logger } = this.#options
    const problem = this.#problemWith(deviceId, poolId, report)
    if (problem !== undefined)
      return logger.warn({ device: deviceId, job: report.jobId, problem }, 'a report was ignored')
    const billed = creditStore.find(report.jobId)
    // a job that ended unbilled or is settled: late, repeated, or nothing to share out
    if (billed ? billed.isSettled : finalStates.includes(jobStore.head(report.jobId)?.state ?? 'failed')) return
    this.#keep(deviceId, report, billed)
  }

  /** The submitter confirms what it used. Repeating it is harmless. @throws MeshError `statementRefused` */
  confirm(deviceId: string, poolId: string, jobId: string, statement: SignedStatement): void {
    const refuse = (problem: string): MeshError => new MeshError('statementRefused', { jobId, problem })
    if (statement.kind !== 'use' || statement.jobId !== jobId) throw refuse('it is not about the use of this job')
    const problem = this.#problemWith(deviceId, poolId, statement)
    if (problem !== undefined) throw refuse(problem)
    const billed = this.#options.creditStore.find(jobId)
    if (!billed) throw refuse('the job has not ended, or cost nothing')
    if (!billed.isSettled) this.#keep(deviceId, statement, billed)
  }

  /** Settles jobs of which a device stayed silent for too long: by what the plan says. */
  settleDue(): void {
    const { creditStore, now, settings, logger } = this.#options
    for (const jobId of creditStore.due(now() - settings.settleMs, settledAtOnce)) {
      if (this.#settle(jobId)) logger.info({ job: jobId }, 'job settled without all statements')
    }
  }

  /** How much of a busy ring each participant gets: weights above zero. */
  queueWeights(poolId: string): Map<string, number> {
    return queueWeights(this.#contributors(poolId), this.#options.now(), this.#options.settings)
  }

  /** @param asking a member, also where it could not be stored that it takes part */
  view(poolId: string, asking?: string): CreditsView {
    const { creditStore, ledgerStore, deviceStore, now, settings } = this.#options
    const stored = ledgerStore.participants(poolId)
    const isStored = asking === undefined || stored.some(({ deviceId }) => deviceId === asking)
    const members = isStored ? stored : [...stored, { deviceId: asking, since: now() }]
    const standings = standingsOf(members, ledgerStore.sums(poolId, now() - settings.windowMs), now(), settings)
    const names = deviceStore.names(members.map(({ deviceId }) => deviceId))
    return {
      windowMs: settings.windowMs,
      unsettled: creditStore.unsettled(poolId),
      members: standings.map((standing) => ({
        ...standing,
        name: names(standing.deviceId),
      })),
    }
  }

  quota(poolId: string, deviceId: string): QuotaView {
    this.#options.background.run('storing who takes part', () => this.join(poolId, deviceId))
    const { windowMs, members } = this.view(poolId, deviceId)
    const own = members.find((member) => member.deviceId === deviceId) as CreditsView['members'][number]
    const waiting = this.#options.jobQueueStore.waitingBySubmitter(poolId)
    const mine = waiting.find(({ submittedBy }) => submittedBy === deviceId)?.jobs ?? 0
    return { ...own, windowMs, waiting: mine, waitingOfOthers: waiting.reduce((sum, { jobs }) => sum + jobs, 0) - mine }
  }

  page(
    poolId: string,
    { after = 0, since = 0, limit = limits.ledgerPage }: { after?: number; since?: number; limit?: number },
  ): LedgerPage {
    const entries = this.#options.ledgerStore.entries(poolId, { after, since, limit: limit + 1 })
    return { entries: entries.slice(0, limit), more: entries.length > limit }
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #contributors(poolId: string): Contributor[] {
    const { ledgerStore, now, settings } = this.#options
    const earned = new Map(
      ledgerStore
        .sums(poolId, now() - settings.windowMs)
        .map(({ deviceId, recentlyEarned }) => [deviceId, recentlyEarned]),
    )
    return ledgerStore
      .participants(poolId)
      .map(({ deviceId, since }) => ({ deviceId, since, earned: earned.get(deviceId) ?? 0 }))
  }

  /** Why a statement cannot count, as far as that can be told before the job ends. */
  #problemWith(deviceId: string, poolId: string, statement: SignedStatement): string | undefined {
    const { jobStore, ringStore, creditStore } = this.#options
    const job = jobStore.find(statement.jobId)
    if (job?.poolId !== poolId) return 'there is no such job in this pool'
    if (!holdsStatement({ poolId, deviceId }, statement)) return 'the signature is not of the device that sent it'
    const billed = creditStore.find(statement.jobId)
    if (billed) {
      const others = creditStore.statements(statement.jobId)
      if (isAbout(billed, { ...statement, deviceId }, others)) return undefined
      return `it does not fit the job, which had ${billOf(billed, others).tokens} tokens in epoch ${billed.epoch}`
    }
    const ring = ringStore.findByModel(poolId, job.submission.modelId)
    return finalStates.includes(job.state) || ring?.members.some((member) => member.deviceId === deviceId)
      ? undefined
      : 'the device has no part in the job'
  }

  #keep(deviceId: string, statement: SignedStatement, billed: BilledJob | undefined): void {
    this.#options.creditStore.keep(deviceId, statement)
    if (billed) this.#trySettling(billed.jobId)
  }

  /** What is stored already does not fail for it: a job that cannot be settled now is settled when it is due. */
  #trySettling(jobId: string): void {
    this.#options.background.run('settling a job', () => this.#settleIfComplete(jobId))
  }

  #settleIfComplete(jobId: string): void {
    const { creditStore, logger } = this.#options
    const job = creditStore.find(jobId)
    if (!job || job.isSettled || !isComplete(job, creditStore.statements(jobId))) return
    this.#settle(jobId)
    logger.debug({ job: jobId }, 'job settled')
  }

  /** Settles a job, and tells who spoke against the others. @returns false when it was settled before */
  #settle(jobId: string): boolean {
    const { creditStore, now, jobStore, logger } = this.#options
    const job = creditStore.find(jobId)
    if (!job) return false
    const { tokens, isCorrected, disputedBy, undecided } = billOf(job, creditStore.statements(jobId))
    if (!creditStore.settle(jobId, now())) return false
    // a job that was cancelled ends amid its prompt, of which rank 0 tells the whole length
    if (isCorrected && jobStore.head(jobId)?.state !== 'cancelled') {
      logger.warn(
        { job: jobId, device: job.workers[0].deviceId, claimed: job.tokens, billed: tokens },
        'rank 0 claimed other tokens than the ranks of its ring signed',
      )
    }
    for (const device of disputedBy) {
      logger.warn(
        { job: jobId, device, billed: tokens },
        undecided
          ? 'the ranks signed different numbers of tokens'
          : 'a rank signed another number of tokens than most of its ring',
      )
    }
    return true
  }
}
