import assert from 'node:assert/strict'
import { test } from 'node:test'
import { deviceIdOf } from '../identity/device-key.ts'
import { type KeyPair, keyPairFromSeed } from '../identity/keys.ts'
import { holdsStatement, signStatement, type Statement } from '../identity/statement.ts'
import type { LedgerEntry } from '../schema/credits.ts'
import { hashOf, noHash } from './entry.ts'
import {
  billOf,
  entriesOf,
  type EntryDraft,
  type FinishedJob,
  isAbout,
  isComplete,
  type StatementOf,
} from './job-entries.ts'
import { earningsOf, priceOf } from './settlement.ts'
import { LedgerCheck, type LedgerCheckOptions, type LedgerSummary } from './verify.ts'

const poolId = 'ab'.repeat(32)
const keys = [1, 2, 3, 4].map((byte) => keyPairFromSeed(new Uint8Array(32).fill(byte)))
const [first, second, third, submitter] = keys.map(deviceIdOf)

const job = (jobId: string, tokens = 100): FinishedJob => ({
  jobId,
  submittedBy: submitter,
  epoch: 3,
  modelWeights: 6_400_000,
  tokens,
  mostTokens: 1000,
  workers: [
    { deviceId: first, weights: 3_200_000 },
    { deviceId: second, weights: 2_000_000 },
    { deviceId: third, weights: 1_200_000 },
  ],
})

const sign = (key: KeyPair, statement: Statement): StatementOf => ({
  ...signStatement(key, poolId, statement),
  deviceId: deviceIdOf(key),
})

const statementsOf = ({ jobId, epoch, tokens, workers }: FinishedJob): StatementOf[] => [
  ...workers.map(({ weights }, rank) =>
    sign(keys[rank], {
      kind: 'work',
      jobId,
      epoch,
      weights,
      tokens: tokens - 1,
      computeUs: 1_000_000 + rank * 150_000,
    }),
  ),
  sign(keys[3], { kind: 'use', jobId, epoch, weights: 0, tokens, computeUs: 0 }),
]

/** A chain with hashes of its own, as somebody who runs the database could make it. */
const chainOf = (drafts: readonly EntryDraft[]): LedgerEntry[] => {
  let previous = noHash
  return drafts.map((draft, index) => {
    const { deviceId, kind, jobId, epoch, weights, tokens, computeUs, modelWeights, amount, settledAt, signature } =
      draft
    const entry = {
      sequence: index + 1,
      deviceId,
      kind,
      jobId,
      epoch,
      weights,
      tokens,
      computeUs,
      modelWeights,
      amount,
      settledAt,
      signature,
    }
    previous = hashOf(poolId, previous, entry)
    return { ...entry, hash: previous }
  })
}

const three = [job('job_1'), job('job_2', 37), job('job_3', 5)]
/** All said what they did of the first job, nobody of the second, one of the third. */
const drafts = [
  entriesOf(three[0], statementsOf(three[0]), 10),
  entriesOf(three[1], [], 20),
  entriesOf(three[2], statementsOf(three[2]).slice(0, 1), 30),
].flat()
const ledger = chainOf(drafts)

const check = (entries: readonly LedgerEntry[], options: Partial<LedgerCheckOptions> = {}): LedgerSummary => {
  const checking = new LedgerCheck({ poolId, ...options })
  for (const entry of entries) checking.push([entry])
  return checking.finish()
}

test('ledger: a good one holds, sums to zero and says who has what', () => {
  const { entries, jobs, signed, unsigned, head, balances } = check(ledger)
  assert.deepEqual([entries, jobs, signed, head], [12, 3, 5, ledger[11].hash])
  // nobody of the second job, and of the third only the first of its workers
  assert.deepEqual(Object.fromEntries(unsigned), {
    [first]: { work: 1, use: 0 },
    [second]: { work: 2, use: 0 },
    [third]: { work: 2, use: 0 },
    [submitter]: { work: 0, use: 2 },
  })
  assert.equal(
    ledger.reduce((sum, { amount }) => sum + amount, 0),
    0,
  )
  assert.deepEqual([...balances.keys()].toSorted(), [first, second, third, submitter].toSorted())
  assert.equal(
    [...balances.values()].reduce((sum, { earned, used }) => sum + earned - used, 0),
    0,
  )
  assert.equal(balances.get(submitter)?.used, 640 + 237 + 32)
  assert.equal(check([]).head, noHash)
})

test('ledger: the hash of an entry is the published one', () => {
  // made with hashlib and a CBOR encoder of twelve lines in Python, from the words in entry.ts alone
  const entry = {
    kind: 'use',
    sequence: 1,
    jobId: 'job_1',
    deviceId: 'cd'.repeat(32),
    epoch: 3,
    modelWeights: 70_000_000_000,
    weights: 0,
    tokens: 100,
    computeUs: 0,
    amount: -7_000_000,
    settledAt: 1_800_000_000_000,
    signature: null,
  } as const
  assert.equal(hashOf(poolId, noHash, entry), '4ca7e2bc94ea992d7484963f9e654b40c67ac2575aad7950aac7470730baae23')
})

/** Row 2 is rank 2 of the first job, row 3 its submitter, 7 the submitter of the second, 8 rank 0 of the third. */
const changes: readonly [name: string, row: number, change: Partial<LedgerEntry>, problem: RegExp][] = [
  ['an amount', 2, { amount: 1 }, /rank 2 of job job_1 got 1 credits/],
  ['a price', 3, { amount: -1 }, /cost 1 credits, 640 follow/],
  ['tokens of a signed use', 3, { tokens: 1 }, /did not sign/],
  ['tokens of an unsigned use', 7, { tokens: 1 }, /got \d+ credits, \d+ follow/],
  ['time of compute', 2, { computeUs: 5_000_000 }, /did not sign/],
  ['a device', 0, { deviceId: second }, /did not sign/],
  ['a signature', 0, { signature: 'ab'.repeat(64) }, /did not sign/],
  ['a job', 8, { jobId: 'job_9' }, /did not sign|no submitter/],
  ['the size of the model', 4, { modelWeights: 1 }, /follow from its entries/],
]

for (const [name, row, change, problem] of changes) {
  test(`ledger: a changed row is found, with its number: ${name}`, () => {
    const changed = ledger.with(row, { ...ledger[row], ...change })
    assert.throws(() => check(changed), {
      code: 'ledgerInvalid',
      fields: { sequence: row + 1, problem: 'its hash does not match: it, or one before it, was changed' },
    })
  })

  test(`ledger: so is one with all hashes made anew: ${name}`, () => {
    assert.throws(() => check(chainOf(drafts.with(row, { ...drafts[row], ...change }))), {
      code: 'ledgerInvalid',
      message: problem,
    })
  })
}

test('ledger: rows taken out, swapped, repeated or cut off are found', () => {
  assert.throws(() => check(ledger.toSpliced(5, 1)), { message: /entry 6: an entry is missing/ })
  assert.throws(() => check(ledger.with(4, ledger[5]).with(5, ledger[4])), {
    message: /entry 5: an entry is missing or out of place/,
  })
  assert.throws(() => check(chainOf(drafts.toSpliced(3, 1))), { message: /job job_1 has no submitter/ })
  assert.throws(() => check(chainOf([...drafts, ...drafts.slice(0, 4)])), { message: /job job_1 was settled before/ })
  assert.throws(() => check(ledger.slice(0, 6)), { message: /it ends amid job job_2/ })
})

/** All ranks sign, the first of `tokens` for rank 0; nobody signs the use. */
const signedBy = ({ jobId, epoch, workers }: FinishedJob, tokens: readonly number[]): StatementOf[] =>
  tokens.map((count, rank) =>
    sign(keys[rank], { kind: 'work', jobId, epoch, weights: workers[rank].weights, tokens: count, computeUs: 0 }),
  )

test('ledger: a bill that its ranks did not sign is found, also with all hashes made anew, and rank 0 named', () => {
  const honest = job('job_1', 65)
  const invented = job('job_1', 572)
  const [leader, ...others] = entriesOf(honest, signedBy(honest, [64, 64, 64]), 10)
  assert.equal(check(chainOf([leader, ...others])).jobs, 1)
  // what entriesOf made of the claim before it asked the ranks: prices and sums follow from the tokens
  const bare = entriesOf(invented, [], 10)
  for (const signers of [[0, 1, 2], [1, 2], [2]]) {
    const rows = bare.map((entry, rank) =>
      signers.includes(rank) ? { ...entry, ...signedBy(honest, [64, 64, 64])[rank] } : entry,
    )
    const earned = earningsOf(priceOf(invented.modelWeights, 572), 572, rows.slice(0, 3))
    const drafted = rows.map((entry, rank) => (rank < 3 ? { ...entry, amount: earned[rank] } : entry))
    assert.throws(() => check(chainOf(drafted)), {
      code: 'ledgerInvalid',
      message: new RegExp(
        `entry 4: .*billed for 572 tokens, and its ranks signed 64: .*rank 0 \\(device ${first.slice(0, 8)}\\)`,
      ),
    })
  }
})

test('ledger: who signed other tokens than the others is named, in what holds', () => {
  const one = job('job_1', 65)
  const two = { ...job('job_2', 65), workers: one.workers.slice(0, 2) }
  const summary = check(
    chainOf([...entriesOf(one, signedBy(one, [571, 64, 64]), 10), ...entriesOf(two, signedBy(two, [571, 64]), 10)]),
  )
  assert.deepEqual(Object.fromEntries(summary.disputed), {
    [first]: { against: 1, undecided: 1 },
    [second]: { against: 0, undecided: 1 },
  })
  assert.equal(check(ledger).disputed.size, 0)
})

test('bill: what rank 0 claims counts as far as the others signed it, and no statement above what can be', () => {
  const invented = { ...job('job_1', 572), mostTokens: 600 }
  const billed = (tokens: readonly number[]): unknown[] => {
    const { tokens: bill, isCorrected, disputedBy, undecided } = billOf(invented, signedBy(invented, tokens))
    return [bill, isCorrected, disputedBy, undecided]
  }
  assert.deepEqual(billed([]), [572, false, [], false])
  assert.deepEqual(billed([571, 571, 571]), [572, false, [], false])
  assert.deepEqual(billed([64, 64, 64]), [65, true, [], false])
  assert.deepEqual(billed([571, 64, 64]), [65, true, [first], false])
  assert.deepEqual(billed([571, 64]), [65, true, [first, second], true])
  assert.deepEqual(billed([571, 1, 571]), [572, false, [second], false])
  assert.deepEqual(billed([600, 600, 600]), [600, true, [], false]) // a claim that is too low robs the others
  assert.deepEqual(billed([601, 9999, 64]), [65, true, [], false])
  assert.ok(!isAbout(invented, signedBy(invented, [601])[0]) && isAbout(invented, signedBy(invented, [600])[0]))
})

test('bill: the submitter signs what is billed, not what rank 0 claims', () => {
  const invented = job('job_1', 572)
  const work = signedBy(invented, [64, 64, 64])
  const use = (tokens: number): StatementOf =>
    sign(keys[3], { kind: 'use', jobId: 'job_1', epoch: 3, weights: 0, tokens, computeUs: 0 })
  assert.ok(isAbout(invented, use(65), work) && !isAbout(invented, use(572), work) && isAbout(invented, use(572)))
  assert.ok(isComplete(invented, [...work, use(65)]) && !isComplete(invented, [...work, use(572)]))
  assert.deepEqual(
    [65, 572].map((tokens) => entriesOf(invented, [...work, use(tokens)], 1)[3].signature === null),
    [false, true],
  )
  assert.equal(entriesOf(invented, [...work, use(572)], 1)[3].amount, -416) // 6.4 x 65
})

test('ledger: one that was cut or written anew since it was checked last is found', () => {
  const known = { sequence: 8, hash: ledger[7].hash }
  assert.equal(check(ledger, { known }).entries, 12)
  assert.throws(() => check(ledger.slice(0, 4), { known }), {
    message: /it had 8 entries when it was checked last, now 4/,
  })
  const anew = chainOf([...drafts.slice(0, 4), ...entriesOf(job('job_2', 36), [], 20), ...drafts.slice(8)])
  assert.equal(check(anew).entries, 12) // unsigned entries can be made up: only who checked before can tell
  assert.throws(() => check(anew, { known }), { message: /entry 8: it is another one/ })
})

test('statements: only the device, pool and content that were signed hold', () => {
  const [statement] = statementsOf(three[0])
  const { deviceId, ...signed } = statement
  assert.ok(holdsStatement({ poolId, deviceId }, signed))
  assert.ok(!holdsStatement({ poolId, deviceId: second }, signed))
  assert.ok(!holdsStatement({ poolId: 'ac'.repeat(32), deviceId }, signed))
  for (const change of [
    { kind: 'use' as const },
    { jobId: 'job_2' },
    { epoch: 4 },
    { weights: 1 },
    { tokens: 100 },
    { computeUs: 1 },
    { signature: 'ab'.repeat(64) },
    { signature: '' },
  ]) {
    assert.ok(!holdsStatement({ poolId, deviceId }, { ...signed, ...change }), JSON.stringify(change))
  }
  assert.ok(!holdsStatement({ poolId, deviceId: 'zz' }, signed))
})

test('statements: one about another epoch, shard or number of tokens does not count, nor does that of a stranger', () => {
  const [work, , , use] = statementsOf(three[0])
  assert.ok(isAbout(three[0], work) && isAbout(three[0], use))
  for (const wrong of [
    { ...work, epoch: 4 },
    { ...work, weights: 9 },
    { ...work, deviceId: submitter },
    { ...work, jobId: 'job_2' },
    { ...use, tokens: 99 },
    { ...use, deviceId: first },
    { ...use, weights: 1 },
  ])
    assert.ok(!isAbout(three[0], wrong))
  assert.ok(isComplete(three[0], statementsOf(three[0])))
  assert.ok(!isComplete(three[0], statementsOf(three[0]).slice(1)))
  assert.ok(!isComplete(three[0], statementsOf(three[0]).slice(0, 3)))
})

test('ledger: it may end where it ended when it was checked last, not before', () => {
  const known = { sequence: ledger.length, hash: ledger.at(-1)!.hash }
  assert.equal(check(ledger, { known }).entries, known.sequence)
  assert.throws(() => check(ledger.slice(0, -4), { known }), /it had 12 entries when it was checked last, now 8/)
})

test('ledger: a job that costs something and that nobody worked for does not hold', () => {
  const use = drafts.find(({ kind, signature }) => kind === 'use' && signature === null)!
  assert.throws(() => check(chainOf([use])), /the amounts of job job_2 do not sum to zero/)
})
