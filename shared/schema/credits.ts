/**
 * Credits: what a device computed for others, and what it used. One credit is a million multiply-adds, which is a
 * million matrix weights times one token. All amounts are whole numbers.
 */
import { Type } from 'typebox'
import { Count, Hex64, Name, Time } from './common.ts'

/** What a device says of a job, signed with its key (`identity/statement.ts`). */
const said = {
  /** `work`: a rank did its part. `use`: the submitter got its answer. */
  kind: Type.Union([Type.Literal('work'), Type.Literal('use')]),
  jobId: Type.String({ minLength: 1, maxLength: 100 }),
  /** Of the ring that ran the job. */
  epoch: Count,
  /** Matrix weights of the own shard; 0 for a use. */
  weights: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
  /** Tokens that went through the shard; for a use prompt and answer together. */
  tokens: Type.Integer({ minimum: 0, maximum: 2 ** 32 - 1 }),
  /** Microseconds of own compute, without waiting for others; 0: not known, or a use. */
  computeUs: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
}
const Signature = Type.String({ pattern: '^[0-9a-f]{128}$', description: 'Ed25519 signature in hex' })

/** Travels beside the pool and the device that it speaks of, which the signature covers too. */
export const SignedStatement = Type.Object({ ...said, signature: Signature }, { additionalProperties: false })
export type SignedStatement = Type.Static<typeof SignedStatement>

/**
 * One line of the ledger. The entries of a job follow each other: its workers by rank, what they earned, then the
 * submitter with the negative sum. Everything that the amounts follow from is here, so that anybody can check them.
 */
export const LedgerEntry = Type.Object({
  /** 1, 2, 3 ... in each pool. */
  sequence: Type.Integer({ minimum: 1 }),
  deviceId: Hex64,
  ...said,
  /** Matrix weights of the whole model. */
  modelWeights: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
  /** Credits: earned above zero, used below. */
  amount: Type.Integer(),
  settledAt: Time,
  /** Of the device; `null`: its statement never came, and the entry is what the control plane knew. */
  signature: Type.Union([Signature, Type.Null()]),
  /** SHA-256 over the hash of the entry before and this one. */
  hash: Hex64,
})
export type LedgerEntry = Type.Static<typeof LedgerEntry>

export const LedgerPage = Type.Object({
  entries: Type.Array(LedgerEntry),
  /** Ask again after the last entry. */
  more: Type.Boolean(),
})
export type LedgerPage = Type.Static<typeof LedgerPage>

/** Parts per million. */
const Share = Type.Integer({ minimum: 0, maximum: 1_000_000 })

const standing = {
  deviceId: Hex64,
  name: Name,
  /** Since the first entry. */
  earned: Count,
  used: Count,
  /** Within the window that counts for the queue. */
  recentlyEarned: Count,
  recentlyUsed: Count,
  /** Of all that was earned within the window. */
  contributionShare: Share,
  /** Of all that was used within the window. */
  useShare: Share,
  /** What the device gets of a busy ring when all members want it at once. */
  queueShare: Share,
  /** A newcomer until then: it gets at least the share set for newcomers. */
  newUntil: Type.Optional(Time),
}

export const CreditsView = Type.Object({
  windowMs: Count,
  members: Type.Array(Type.Object(standing)),
  /** Finished jobs that wait for statements. */
  unsettled: Count,
})
export type CreditsView = Type.Static<typeof CreditsView>
export type Standing = CreditsView['members'][number]

export const QuotaView = Type.Object({
  ...standing,
  windowMs: Count,
  /** Jobs in the queue of the pool: own ones, and those of others. */
  waiting: Count,
  waitingOfOthers: Count,
})
export type QuotaView = Type.Static<typeof QuotaView>
