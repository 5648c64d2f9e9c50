/** What ranks find of each other's sums, over real sockets: who is named, whose job fails, who earns nothing. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join as joinPath } from 'node:path'
import { test, type TestContext } from 'node:test'
import { signStatement } from '../../shared/identity/statement.ts'
import { heldWeights, planShards } from '../../shared/plan/shard-plan.ts'
import type { MemberSums, RankCheck } from '../../shared/schema/ring.ts'
import { defaultCreditSettings } from '../service/credits.ts'
import {
  createPool,
  eventually,
  type FakeAgent,
  manifest,
  type Plane,
  quickSettings,
  startPlane,
  submission,
  type TestPool,
} from './plane.ts'
import { activeRing, done, epochWith, ledgerOf, type Ring, view } from './steps.ts'

const plane = (t: TestContext, folder?: string): Promise<Plane> =>
  startPlane(t, folder, { ...quickSettings, leaseMs: 60_000, credits: { ...defaultCreditSettings, settleMs: 60_000 } })

const checkOf = (rank: number, change: Partial<RankCheck> = {}): RankCheck => ({
  rank,
  checks: 4,
  wrong: 0,
  worst: 1e-6,
  isWrong: false,
  jobs: [],
  ...change,
})
const wrongOf = (rank: number, ...jobs: string[]): RankCheck =>
  checkOf(rank, { wrong: 3, worst: 0.0125, isWrong: true, jobs })

const say = (agent: FakeAgent, { ringId, epoch }: Pick<Ring, 'ringId' | 'epoch'>, ...checks: RankCheck[]): void =>
  agent.send({ type: 'ring-state', ringId, epoch, state: 'ready', progress: 1, checks })

const sumsOf = async (pool: TestPool, url: string): Promise<(MemberSums | undefined)[]> => {
  const { members } = await view(pool, url)
  return members.map(({ sums }) => sums)
}

/** Waits until that member has that verdict. */
const verdict = (pool: TestPool, url: string, rank: number, want: MemberSums['verdict']): Promise<void> =>
  eventually(`rank ${rank} is ${want}`, async () => (await sumsOf(pool, url))[rank]?.verdict === want)

const submit = async (pool: TestPool, url: string): Promise<string> =>
  (
    await pool.admin
      .client(url)
      .call('submitJob', { params: { poolId: pool.poolId }, body: submission('sums', { maxTokens: 1000 }) })
  ).jobId

const jobOf = (pool: TestPool, url: string, jobId: string) =>
  pool.admin.client(url).call('getJob', { params: { poolId: pool.poolId, jobId } })

/** All ranks say that they did the job, and its submitter that it used it. */
const settle = async (pool: TestPool, url: string, { agents, epoch }: Ring, jobId: string): Promise<void> => {
  const { poolId } = pool
  const plan = planShards(
    manifest.shape,
    agents.map(() => 1),
  )
  for (const [rank, agent] of agents.entries()) {
    const statement = {
      kind: 'work',
      jobId,
      epoch,
      weights: heldWeights(manifest.shape, plan[rank]),
      tokens: 999,
      computeUs: 1000,
    } as const
    agent.send({ type: 'work-report', poolId, jobId, report: signStatement(agent.device.key, poolId, statement) })
    await agent.next('report-kept')
  }
  const use = signStatement(pool.admin.key, poolId, {
    kind: 'use',
    jobId,
    epoch,
    weights: 0,
    tokens: 1000,
    computeUs: 0,
  })
  await pool.admin.client(url).call('confirmUse', { params: { poolId, jobId }, body: use })
}

const tokens = Array.from({ length: 999 }, (_, index) => index)

test('sums: two accusers of two name a member, with figures and their names; the job that runs fails by its name', async (t) => {
  const { url } = await plane(t)
  const pool = await createPool(url)
  const ring = await activeRing(t, pool, url, 3)
  const jobId = await submit(pool, url)
  await ring.agents[0].next('job-assign')
  say(ring.agents[1], ring, checkOf(0), wrongOf(2, jobId))
  await verdict(pool, url, 2, 'disputed')
  assert.equal((await jobOf(pool, url, jobId)).state, 'assigned')
  say(ring.agents[0], ring, checkOf(1), wrongOf(2, jobId))
  await eventually('the job failed', async () => (await jobOf(pool, url, jobId)).state === 'failed')
  const { error } = await jobOf(pool, url, jobId)
  assert.deepEqual(
    [error?.code, error?.fields],
    ['sumsWrong', { peer: 'Member 2', rank: 2, checks: 8, wrong: 6, accusers: 'Admin and Member 1' }],
  )
  // the others go on without it, and everybody can read why
  const next = await epochWith(ring.agents.slice(0, 2), 2)
  for (const agent of ring.agents.slice(0, 2)) agent.ready(next.ringId, next.epoch)
  for (const agent of ring.agents.slice(0, 2)) await agent.next('ring-active')
  const left = (await view(pool, url)).members.find(({ name }) => name === 'Member 2')
  assert.deepEqual([left?.rank, left?.sums?.verdict, left?.error?.code], [undefined, 'wrong', 'sumsWrong'])
  assert.ok((left?.leftOut?.retryAt ?? 0) > Date.now())
})

test('sums: a member that is found wrong earns nothing of the job, the others share it; the finding outlives the control plane', async (t) => {
  const folder = mkdtempSync(joinPath(tmpdir(), 'mesh-sums-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const first = await plane(t, folder)
  const pool = await createPool(first.url)
  const ring = await activeRing(t, pool, first.url, 3)
  const jobId = await submit(pool, first.url)
  await ring.agents[0].next('job-assign')
  ring.agents[0].send(done(jobId, ring.epoch, 'text', tokens))
  await ring.agents[0].next('job-settled')
  // found when the job had ended, and before all had spoken
  for (const agent of ring.agents.slice(0, 2)) say(agent, ring, wrongOf(2, jobId))
  await eventually('it is stored', async () =>
    (await sumsOf(pool, first.url)).some((sums) => sums?.verdict === 'wrong'),
  )
  await settle(pool, first.url, ring, jobId)
  const entries = await ledgerOf(pool, first.url)
  const [one, two, liar, use] = entries
  assert.deepEqual(
    [liar.deviceId, liar.amount, liar.tokens, liar.signature],
    [ring.agents[2].device.deviceId, 0, 0, null],
  )
  assert.ok(one.amount > 0 && two.amount > 0)
  assert.equal(one.amount + two.amount + use.amount, 0)
  await first.stop()
  const second = await plane(t, folder)
  const { members } = await view(pool, second.url)
  const sums = members.find(({ name }) => name === 'Member 2')?.sums
  assert.deepEqual(
    [sums?.verdict, sums?.checks, sums?.wrong, sums?.worst, sums?.accusers.map(({ name }) => name)],
    ['wrong', 8, 6, 0.0125, ['Admin', 'Member 1']],
  )
  assert.ok((sums?.foundAt ?? 0) > Date.now() - 60_000)
})

test('sums: one accuser alone throws nobody out of a ring of two, and takes no credits: both are named', async (t) => {
  const { url } = await plane(t)
  const pool = await createPool(url)
  const ring = await activeRing(t, pool, url, 2)
  const jobId = await submit(pool, url)
  await ring.agents[0].next('job-assign')
  say(ring.agents[1], ring, wrongOf(0, jobId))
  await verdict(pool, url, 0, 'disputed')
  const [accused] = await sumsOf(pool, url)
  assert.deepEqual(accused?.accusers, [{ deviceId: ring.agents[1].device.deviceId, name: 'Member 1' }])
  ring.agents[0].send(done(jobId, ring.epoch, 'text', tokens))
  await ring.agents[0].next('job-settled')
  await settle(pool, url, ring, jobId)
  const [leader] = await ledgerOf(pool, url)
  assert.ok(leader.amount > 0)
  assert.equal((await view(pool, url)).epoch, ring.epoch)
})

test('sums: what is said of another epoch, of oneself or by a stranger counts for nothing; what cannot be checked says why', async (t) => {
  const { url } = await plane(t)
  const pool = await createPool(url)
  const ring = await activeRing(t, pool, url, 3)
  say(ring.agents[1], { ...ring, epoch: ring.epoch + 1 }, wrongOf(2))
  say(ring.agents[0], ring, wrongOf(0), wrongOf(9), checkOf(1, { checks: 0, problem: 'no \u001b[31mdisk' }))
  await eventually('the last report counts', async () => (await sumsOf(pool, url))[1]?.problem !== undefined)
  const [own, second, third] = await sumsOf(pool, url)
  assert.deepEqual([own?.verdict, second?.verdict, third?.verdict], ['unchecked', 'unchecked', 'unchecked'])
  assert.ok(!second?.problem?.includes('\u001b'))
})

test('sums: a member on a processor whose rounding was not measured is named, and stays', async (t) => {
  const { url } = await plane(t)
  const pool = await createPool(url)
  const ring = await activeRing(t, pool, url, 3)
  const capabilities = { cpuCores: 8, memoryBytes: 8e9, platform: 'darwin', arch: 'arm64', backends: ['onnx'] }
  await ring.agents[2].device
    .client(url)
    .call('registerDevice', { body: { networkId: 'home', name: 'Mac', capabilities } })
  for (const agent of ring.agents.slice(0, 2)) say(agent, ring, wrongOf(2))
  await eventually('both accuse', async () => (await sumsOf(pool, url))[2]?.accusers.length === 2)
  const { epoch, members } = await view(pool, url)
  assert.deepEqual([epoch, members.length, members[2].sums?.verdict], [ring.epoch, 3, 'disputed'])
})
