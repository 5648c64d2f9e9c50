/**
 * Checks a ledger from its first entry on, as it comes: chain, signatures, amounts, that every job sums to zero, and
 * that no job was billed for other tokens than its ranks signed.
 */
import { MeshError } from '../errors.ts'
import { shortId } from '../ids.ts'
import { holdsStatement } from '../identity/statement.ts'
import type { LedgerEntry } from '../schema/credits.ts'
import { agreedTokens, billedTokens, disputeOf } from './agreement.ts'
import { hashOf, noHash } from './entry.ts'
import { earningsOf, priceOf } from './settlement.ts'

export interface Balance {
  earned: number
  used: number
}

/** Entries of one device without its signature. */
export interface Unsigned {
  work: number
  use: number
}

/** Jobs of which one device signed another number of tokens than the others of its ring. */
export interface Disputed {
  /** More than half of its ring say otherwise. */
  against: number
  /** No number has more than half: any of the ring may be wrong. */
  undecided: number
}

export interface LedgerSummary {
  readonly entries: number
  readonly jobs: number
  /** Entries whose device signed; the others are what the control plane knew. */
  readonly signed: number
  /** By device. */
  readonly unsigned: ReadonlyMap<string, Readonly<Unsigned>>
  /** By device. */
  readonly disputed: ReadonlyMap<string, Readonly<Disputed>>
  /** Hash of the last entry. */
  readonly head: string
  readonly balances: ReadonlyMap<string, Readonly<Balance>>
}

export interface LedgerCheckOptions {
  readonly poolId: string
  /** `false` leaves out the signatures, which take most of the time. */
  readonly signatures?: boolean
  /** Head of the last check: the entry of that number must still have that hash. */
  readonly known?: { readonly sequence: number; readonly hash: string }
}

export class LedgerCheck {
  readonly #options: LedgerCheckOptions
  readonly #balances = new Map<string, Balance>()
  readonly #jobs = new Set<string>()
  #head = noHash
  #entries = 0
  #signed = 0
  readonly #unsigned = new Map<string, Unsigned>()
  readonly #disputed = new Map<string, Disputed>()
  /** Workers of a job whose submitter comes last. */
  #open: LedgerEntry[] = []

  constructor(options: LedgerCheckOptions) {
    this.#options = options
  }

  /**
   * The next entries, in order.
   * @throws MeshError `ledgerInvalid` with the number of the first entry that does not hold
   */
  push(entries: readonly LedgerEntry[]): void {
    for (const entry of entries) this.#take(entry)
  }

  /** @throws MeshError `ledgerInvalid` when the ledger ends amid a job, or before the head of the last check */
  finish(): LedgerSummary {
    const { known } = this.#options
    if (this.#open.length > 0) throw this.#bad(`it ends amid job ${this.#open[0].jobId}`)
    if (known && known.sequence > this.#entries)
      throw this.#bad(`it had ${known.sequence} entries when it was checked last, now ${this.#entries}`)
    return {
      entries: this.#entries,
      jobs: this.#jobs.size,
      signed: this.#signed,
      unsigned: this.#unsigned,
      disputed: this.#disputed,
      head: this.#head,
      balances: this.#balances,
    }
  }

  #take(entry: LedgerEntry): void {
    const { poolId, signatures = true, known } = this.#options
    this.#entries++
    if (entry.sequence !== this.#entries)
      throw this.#bad(`an entry is missing or out of place, number ${entry.sequence} follows`)
    const { hash, ...content } = entry
    if (hashOf(poolId, this.#head, content) !== hash)
      throw this.#bad('its hash does not match: it, or one before it, was changed')
    if (known?.sequence === entry.sequence && known.hash !== hash)
      throw this.#bad('it is another one than when the ledger was checked last')
    this.#head = hash
    if (entry.signature === null) this.#unsignedOf(entry.deviceId)[entry.kind]++
    else {
      this.#signed++
      if (
        signatures &&
        !holdsStatement({ poolId, deviceId: entry.deviceId }, { ...statementIn(entry), signature: entry.signature })
      )
        throw this.#bad(`device ${shortId(entry.deviceId)} did not sign it`)
    }
    if (this.#open.some(({ jobId }) => jobId !== entry.jobId))
      throw this.#bad(`job ${this.#open[0].jobId} has no submitter`)
    if (entry.kind === 'work') this.#open.push(entry)
    else this.#close(entry)
  }

  /** All entries of a job are there: are the amounts what follows from them? */
  #close(use: LedgerEntry): void {
    const work = this.#open
    this.#open = []
    if (this.#jobs.has(use.jobId)) throw this.#bad(`job ${use.jobId} was settled before`)
    this.#jobs.add(use.jobId)
    this.#compareTokens(use, work)
    const price = priceOf(use.modelWeights, use.tokens)
    const earned = earningsOf(price, use.tokens, work)
    const differs = work.findIndex(
      (entry, rank) =>
        entry.amount !== earned[rank] || entry.modelWeights !== use.modelWeights || entry.epoch !== use.epoch,
    )
    if (differs >= 0)
      throw this.#bad(
        `rank ${differs} of job ${use.jobId} got ${work[differs].amount} credits, ` +
          `${earned[differs]} follow from its entries`,
      )
    if (use.amount + price !== 0)
      throw this.#bad(`job ${use.jobId} cost ${-use.amount} credits, ${price} follow from its entries`)
    if (work.reduce((sum, { amount }) => sum + amount, use.amount) !== 0)
      throw this.#bad(`the amounts of job ${use.jobId} do not sum to zero`)
    for (const { deviceId, amount } of work) this.#balanceOf(deviceId).earned += amount
    this.#balanceOf(use.deviceId).used += price
  }

  /** The amounts may follow from the tokens, and the tokens be made up: are they what the ranks signed? */
  #compareTokens({ jobId, tokens }: LedgerEntry, work: readonly LedgerEntry[]): void {
    const signers = work.filter(({ signature }) => signature !== null)
    const signed = signers.map((entry) => entry.tokens)
    if (billedTokens(tokens, signed) !== tokens) {
      const leader = shortId(work[0].deviceId)
      throw this.#bad(
        `job ${jobId} was billed for ${tokens} tokens, and its ranks signed ${agreedTokens(signed)}: ` +
          `the others were made up by rank 0 (device ${leader}) or by who runs the control plane`,
      )
    }
    const dispute = disputeOf(signed)
    for (const index of dispute?.by ?? []) {
      const { deviceId } = signers[index]
      const of = this.#disputed.get(deviceId) ?? { against: 0, undecided: 0 }
      this.#disputed.set(deviceId, of)
      of[dispute?.undecided ? 'undecided' : 'against']++
    }
  }

  #unsignedOf(deviceId: string): Unsigned {
    const unsigned = this.#unsigned.get(deviceId) ?? { work: 0, use: 0 }
    this.#unsigned.set(deviceId, unsigned)
    return unsigned
  }

  #balanceOf(deviceId: string): Balance {
    const balance = this.#balances.get(deviceId) ?? { earned: 0, used: 0 }
    this.#balances.set(deviceId, balance)
    return balance
  }

  #bad(problem: string): MeshError {
    return new MeshError('ledgerInvalid', { sequence: this.#entries, problem })
  }
}

const statementIn = ({ kind, jobId, epoch, weights, tokens, computeUs }: LedgerEntry) => ({
  kind,
  jobId,
  epoch,
  weights,
  tokens,
  computeUs,
})
