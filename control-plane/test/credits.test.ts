/** Credits over real sockets and HTTP: who reports, who confirms, who stays silent, and whose turn it is. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { LedgerCheck } from '../../shared/ledger/verify.ts'
import { signStatement, type Statement } from '../../shared/identity/statement.ts'
import { heldWeights, planShards, weightsOf } from '../../shared/plan/shard-plan.ts'
import type { CreditsView, LedgerEntry } from '../../shared/schema/credits.ts'
import { CreditStore } from '../store/credit-store.ts'
import { openDatabase } from '../store/database.ts'
import { mostTokens } from '../domain/job-tokens.ts'
import { type CreditSettings, defaultCreditSettings } from '../service/credits.ts'
import {
  createPool,
  eventually,
  type FakeAgent,
  manifest,
  type Plane,
  quickSettings,
  startPlane,
  submission,
  type TestDevice,
  type TestPool,
} from './plane.ts'
import { activeRing, done, epochWith, join, ledgerOf } from './steps.ts'

/** Agents here say nothing while others have their turn, however slow the machine is: no lease ends. */
const plane = (
  t: TestContext,
  change: Partial<CreditSettings> = {},
  folder?: string,
  now?: () => number,
): Promise<Plane> =>
  startPlane(t, folder, { ...quickSettings, leaseMs: 600_000, credits: { ...defaultCreditSettings, ...change } }, now)

const creditsOf = async (pool: TestPool, url: string, device: TestDevice): Promise<CreditsView['members'][number]> => {
  const { members } = await pool.admin.client(url).call('credits', { params: { poolId: pool.poolId } })
  return members.find(({ deviceId }) => deviceId === device.deviceId) as CreditsView['members'][number]
}

const submit = async (device: TestDevice, pool: TestPool, url: string, key: string): Promise<string> =>
  (
    await device
      .client(url)
      .call('submitJob', { params: { poolId: pool.poolId }, body: submission(key, { maxTokens: 1000 }) })
  ).jobId

const tokens = Array.from({ length: 999 }, (_, index) => index)

/** Rank 0 runs the next job to its end: a thousand tokens in all. */
const runNext = async (leader: FakeAgent, epoch: number): Promise<string> => {
  const { jobId } = await leader.next('job-assign')
  leader.send(done(jobId, epoch, 'text', tokens))
  await leader.next('job-settled')
  return jobId
}

/** What rank `rank` of a ring of equal shares says. */
const workOf = (jobId: string, epoch: number, rank: number, worldSize: number): Statement => ({
  kind: 'work',
  jobId,
  epoch,
  weights: heldWeights(
    manifest.shape,
    planShards(
      manifest.shape,
      Array.from({ length: worldSize }, () => 1),
    )[rank],
  ),
  tokens: 999,
  computeUs: 1_000_000,
})

const report = (
  agent: FakeAgent,
  { poolId }: TestPool,
  statement: Statement,
  signer: TestDevice = agent.device,
): void =>
  agent.send({
    type: 'work-report',
    poolId,
    jobId: statement.jobId,
    report: signStatement(signer.key, poolId, statement),
  })

const confirm = (
  device: TestDevice,
  { poolId }: TestPool,
  url: string,
  { jobId, epoch, ...change }: Partial<Statement> & Pick<Statement, 'jobId' | 'epoch'>,
): Promise<unknown> =>
  device.client(url).call('confirmUse', {
    params: { poolId, jobId },
    body: signStatement(device.key, poolId, {
      kind: 'use',
      jobId,
      epoch,
      weights: 0,
      tokens: 1000,
      computeUs: 0,
      ...change,
    }),
  })

const price = Math.ceil((weightsOf(manifest.shape) * 1000) / 1e6)

test('credits: a job is settled as soon as all have spoken, once, signed by each, and sums to zero', async (t) => {
  const { url } = await plane(t)
  const pool = await createPool(url)
  const { agents, epoch } = await activeRing(t, pool, url, 2)
  const jobId = await submit(pool.admin, pool, url, 'one')
  const { jobId: assigned } = await agents[0].next('job-assign')
  assert.equal(assigned, jobId)
  report(agents[1], pool, workOf(jobId, epoch, 1, 2)) // it may know of the end before we do
  assert.equal((await agents[1].next('report-kept')).jobId, jobId)
  agents[0].send(done(jobId, epoch, 'text', tokens))
  for (let time = 0; time < 2; time++) report(agents[0], pool, workOf(jobId, epoch, 0, 2))
  await agents[0].next('report-kept')
  assert.deepEqual(await ledgerOf(pool, url), [])
  for (let time = 0; time < 2; time++) await confirm(pool.admin, pool, url, { jobId, epoch })
  report(agents[1], pool, workOf(jobId, epoch, 1, 2)) // once more, after a reconnect
  await agents[1].next('report-kept')
  const entries = await ledgerOf(pool, url)
  assert.deepEqual(
    entries.map(({ kind, deviceId, signature, tokens: count }) => [kind, deviceId, signature !== null, count]),
    [
      ['work', pool.admin.deviceId, true, 999],
      ['work', agents[1].device.deviceId, true, 999],
      ['use', pool.admin.deviceId, true, 1000],
    ],
  )
  assert.equal(
    entries.reduce((sum, { amount }) => sum + amount, 0),
    0,
  )
  assert.deepEqual(
    [(await creditsOf(pool, url, pool.admin)).used, (await creditsOf(pool, url, agents[1].device)).earned],
    [price, entries[1].amount],
  )
})

test('credits: who stays silent is settled by the plan after the time-out, also after a restart; what comes late changes nothing', async (t) => {
  const first = await plane(t)
  const pool = await createPool(first.url)
  const { agents, epoch } = await activeRing(t, pool, first.url, 2)
  await submit(pool.admin, pool, first.url, 'one')
  const jobId = await runNext(agents[0], epoch)
  report(agents[1], pool, workOf(jobId, epoch, 1, 2))
  await agents[1].next('report-kept')
  assert.deepEqual(await ledgerOf(pool, first.url), [])
  await first.stop()

  const { url } = await plane(t, { settleMs: 0 }, first.folder)
  await eventually('it is settled', async () => (await ledgerOf(pool, url)).length > 0)
  const entries = await ledgerOf(pool, url)
  assert.deepEqual(
    entries.map(({ kind, signature }) => [kind, signature !== null]),
    [
      ['work', false],
      ['work', true],
      ['use', false],
    ],
  )
  await confirm(pool.admin, pool, url, { jobId, epoch })
  assert.deepEqual(await ledgerOf(pool, url), entries)
})

test('credits: a job whose last statement was stored just before the process ended is settled by the next one, at once and once', async (t) => {
  const first = await plane(t)
  const pool = await createPool(first.url)
  const { agents, epoch } = await activeRing(t, pool, first.url, 1)
  await submit(pool.admin, pool, first.url, 'one')
  const jobId = await runNext(agents[0], epoch)
  await confirm(pool.admin, pool, first.url, { jobId, epoch })
  await first.stop()
  const database = openDatabase(`${first.folder}/mesh.sqlite`)
  new CreditStore(database.store).keep(
    pool.admin.deviceId,
    signStatement(pool.admin.key, pool.poolId, workOf(jobId, epoch, 0, 1)),
  )
  database.close()

  for (let time = 0; time < 2; time++) {
    const { url, stop } = await plane(t, {}, first.folder) // two minutes until the time-out
    assert.deepEqual(
      (await ledgerOf(pool, url)).map(({ kind, signature }) => [kind, signature !== null]),
      [
        ['work', true],
        ['use', true],
      ],
    )
    await stop()
  }
})

test('credits: reports that do not hold are not counted, and not asked for again', async (t) => {
  const { url } = await plane(t, { settleMs: 0 })
  const pool = await createPool(url)
  const { agents, epoch } = await activeRing(t, pool, url, 2)
  const stranger = await pool.member('Stranger')
  const jobId = await submit(pool.admin, pool, url, 'one')
  await agents[0].next('job-assign')
  const good = workOf(jobId, epoch, 1, 2)
  report(agents[1], pool, good, stranger) // signed by another device
  report(agents[1], pool, { ...good, jobId: 'job_none' })
  report(agents[1], pool, { ...good, epoch: epoch + 1 })
  for (let time = 0; time < 3; time++) await agents[1].next('report-kept')
  agents[0].send(done(jobId, epoch, 'text', tokens))
  await eventually('it is settled', async () => (await ledgerOf(pool, url)).length === 3)
  assert.ok((await ledgerOf(pool, url)).every(({ signature }) => signature === null))
  report(agents[1], pool, { ...good, weights: 1 })
  await agents[1].next('report-kept')
})

test('credits: only the submitter confirms, what it really used, of a job that ended', async (t) => {
  const { url } = await plane(t)
  const pool = await createPool(url)
  const {
    agents: [leader],
    epoch,
  } = await activeRing(t, pool, url, 1)
  const other = await pool.member('Other')
  const jobId = await submit(pool.admin, pool, url, 'one')
  await assert.rejects(confirm(pool.admin, pool, url, { jobId, epoch }), {
    code: 'statementRefused',
    message: /has not ended/,
  })
  await runNext(leader, epoch)
  await assert.rejects(confirm(other, pool, url, { jobId, epoch }), {
    code: 'statementRefused',
    message: /does not fit/,
  })
  await assert.rejects(confirm(pool.admin, pool, url, { jobId, epoch, tokens: 5 }), {
    code: 'statementRefused',
    message: /had 1000 tokens/,
  })
  await assert.rejects(confirm(pool.admin, pool, url, { jobId, epoch, kind: 'work' }), { code: 'statementRefused' })
  await assert.rejects(confirm(pool.admin, pool, url, { jobId: 'job_none', epoch }), {
    code: 'statementRefused',
    message: /no such job/,
  })
  await confirm(pool.admin, pool, url, { jobId, epoch })
})

test('credits: a job that failed costs nothing and brings nothing', async (t) => {
  const { url } = await plane(t, { settleMs: 0 })
  const pool = await createPool(url)
  const {
    agents: [leader],
    epoch,
  } = await activeRing(t, pool, url, 1)
  for (const key of ['fails', 'works']) await submit(pool.admin, pool, url, key)
  const { jobId } = await leader.next('job-assign')
  leader.send({ type: 'job-failed', jobId, epoch, error: { code: 'promptTooLong', message: 'too long' } })
  report(leader, pool, workOf(jobId, epoch, 0, 1))
  const worked = await runNext(leader, epoch)
  await eventually('the other is settled', async () => (await ledgerOf(pool, url)).length > 0)
  assert.deepEqual(
    (await ledgerOf(pool, url)).map((entry) => entry.jobId),
    [worked, worked],
  )
})

test('credits: rank 0 cannot charge more than prompt and answer can have had', async (t) => {
  const { url } = await plane(t, { settleMs: 0 })
  const pool = await createPool(url)
  const {
    agents: [leader],
    epoch,
  } = await activeRing(t, pool, url, 1)
  const jobId = await submit(pool.admin, pool, url, 'one')
  await leader.next('job-assign')
  leader.send({
    ...done(jobId, epoch, 'text', [1, 2, 3]),
    usage: { promptTokens: 1e9, completionTokens: 1e9, totalTokens: 2e9 },
  } as ReturnType<typeof done>)
  await eventually('it is settled', async () => (await ledgerOf(pool, url)).length > 0)
  assert.equal(
    (await ledgerOf(pool, url))[1].tokens,
    mostTokens(submission('one', { maxTokens: 1000 }), manifest.shape, 3),
  )
})

const settleMs = 60_000

/** Rank 0 claims a billion tokens of prompt for a job of 5 and 60. @returns what the ledger says, and who is named */
const billedOf = async (
  t: TestContext,
  signed: readonly number[],
): Promise<{ entries: LedgerEntry[]; disputed: string[] }> => {
  let aheadMs = 0
  const { url } = await plane(t, { settleMs }, undefined, () => Date.now() + aheadMs)
  const pool = await createPool(url)
  const { agents, epoch } = await activeRing(t, pool, url, signed.length)
  const params = { poolId: pool.poolId }
  const { jobId } = await pool.admin
    .client(url)
    .call('submitJob', { params, body: submission('long', { prompt: 'word '.repeat(1000), maxTokens: 60 }) })
  await agents[0].next('job-assign')
  const claim = { promptTokens: 1e9, completionTokens: 60, totalTokens: 1e9 + 60 }
  agents[0].send({ ...done(jobId, epoch, 'text', tokens.slice(0, 60)), usage: claim } as ReturnType<typeof done>)
  await agents[0].next('job-settled')
  for (const [rank, count] of signed.entries()) {
    report(agents[rank], pool, { ...workOf(jobId, epoch, rank, signed.length), tokens: count })
    await agents[rank].next('report-kept')
  }
  aheadMs = settleMs // all reports are there, however slow the machine is
  await eventually('it is settled', async () => (await ledgerOf(pool, url)).length > 0)
  const entries = await ledgerOf(pool, url)
  const check = new LedgerCheck({ poolId: pool.poolId })
  check.push(entries)
  return {
    entries,
    disputed: [...check.finish().disputed.keys()].map((id) =>
      String(agents.findIndex(({ device }) => device.deviceId === id)),
    ),
  }
}

test('credits: what rank 0 invents is not billed where its ring signed something else', async (t) => {
  for (const [signed, disputed] of [
    [[64, 64], []],
    [
      [571, 64],
      ['0', '1'],
    ],
    [[2048, 64, 64], ['0']],
  ] as const) {
    const { entries, ...told } = await billedOf(t, signed)
    assert.deepEqual(
      entries.map(({ kind, tokens: count, signature }) => [kind, count, signature !== null]),
      [...signed.map((count) => ['work', count, true]), ['use', 65, false]],
    )
    assert.equal(entries.at(-1)?.amount, -Math.ceil((weightsOf(manifest.shape) * 65) / 1e6))
    assert.deepEqual(told.disputed, disputed)
  }
})

test('turns: who queues more does not get more; a busy ring goes by what each contributed', async (t) => {
  const { url } = await plane(t, { settleMs: 0, graceMs: 0 })
  const pool = await createPool(url)
  const {
    agents: [leader, follower],
    ringId,
  } = await activeRing(t, pool, url, 2)
  const { deviceId: small } = follower.device
  await join(pool.admin, pool, url, { share: 3 })
  const { epoch } = await epochWith([leader, follower], 2)
  for (const agent of [leader, follower]) agent.ready(ringId, epoch)
  await leader.next('ring-active')

  const owners = new Map<string, string>()
  const queue = async (device: TestDevice, count: number, name: string): Promise<void> => {
    for (let index = 0; index < count; index++)
      owners.set(await submit(device, pool, url, `${name}-${index}`), device.deviceId)
  }
  // nobody has contributed yet: turn by turn, though one came first with more
  await queue(follower.device, 4, 'many')
  await queue(pool.admin, 2, 'few')
  const turns: string[] = []
  for (let index = 0; index < 6; index++) {
    turns.push(owners.get(await runNext(leader, epoch)) as string)
    if (index === 3)
      assert.deepEqual(
        turns.map((deviceId) => deviceId === small),
        [true, false, true, false],
      )
    await eventually('it is settled', async () => (await ledgerOf(pool, url)).length === 3 * turns.length)
  }
  const { contributionShare } = await creditsOf(pool, url, follower.device)
  assert.ok(contributionShare > 0 && contributionShare < 300_000, `${contributionShare}`)

  await queue(follower.device, 12, 'later')
  await queue(pool.admin, 40, 'more')
  const busy: string[] = []
  for (let index = 0; index < 40; index++) busy.push(owners.get(await runNext(leader, epoch)) as string)
  const got = busy.filter((deviceId) => deviceId === small).length / busy.length
  assert.ok(
    Math.abs(got - contributionShare / 1e6) < 0.05,
    `${got} of the jobs for ${contributionShare / 1e6} of the work`,
  )
  assert.equal(
    (await follower.device.client(url).call('quota', { params: { poolId: pool.poolId } })).waiting,
    12 - busy.filter((deviceId) => deviceId === small).length,
  )
})

test('ledger: pages follow each other, and a time leaves out what is older', async (t) => {
  const { url } = await plane(t, { settleMs: 0 })
  const pool = await createPool(url)
  const {
    agents: [leader],
    epoch,
  } = await activeRing(t, pool, url, 1)
  const params = { poolId: pool.poolId }
  const client = pool.admin.client(url)
  for (const key of ['a', 'b']) await submit(pool.admin, pool, url, key)
  for (let index = 0; index < 2; index++) await runNext(leader, epoch)
  await eventually('both are settled', async () => (await ledgerOf(pool, url)).length === 4)
  const all = await ledgerOf(pool, url)
  const first = await client.call('ledger', { params, query: { limit: 3 } })
  assert.deepEqual([first.entries, first.more], [all.slice(0, 3), true])
  assert.deepEqual(await client.call('ledger', { params, query: { after: 3 } }), { entries: all.slice(3), more: false })
  assert.deepEqual(await client.call('ledger', { params, query: { since: all[3].settledAt + 1 } }), {
    entries: [],
    more: false,
  })
  await assert.rejects(client.call('ledger', { params, query: { limit: 5000 } }), { code: 'requestInvalid' })
})
