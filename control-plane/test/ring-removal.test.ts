/** Rings that end: by themselves when nobody serves them, or removed by command. What jobs and ledger need stays. */
import assert from 'node:assert/strict'
import { join as joinPath } from 'node:path'
import { test } from 'node:test'
import { signRevocations } from '../../shared/identity/revocation-list.ts'
import { signStatement } from '../../shared/identity/statement.ts'
import { newRingId } from '../../shared/ids.ts'
import { heldWeights, planShards } from '../../shared/plan/shard-plan.ts'
import type { RingView } from '../../shared/schema/ring.ts'
import { limits } from '../../shared/limits.ts'
import { openDatabase } from '../store/database.ts'
import { RingStore } from '../store/ring-store.ts'
import {
  createPool,
  FakeAgent,
  manifest,
  quickSettings,
  startPlane,
  submission,
  type TestDevice,
  type TestPool,
} from './plane.ts'
import { activeRing, done, epochWith, events, join } from './steps.ts'

const ringsOf = ({ poolId, admin }: TestPool, url: string): Promise<RingView[]> =>
  admin.client(url).call('listRings', { params: { poolId } })

const leave = (device: TestDevice, { poolId }: TestPool, url: string, modelId = manifest.modelId): Promise<unknown> =>
  device.client(url).call('leaveRing', { params: { poolId }, body: { modelId } })

const remove = (
  device: TestDevice,
  { poolId }: TestPool,
  url: string,
  modelId = manifest.modelId,
): Promise<{ jobRuns: boolean }> => device.client(url).call('removeRing', { params: { poolId }, body: { modelId } })

const joinAs = (device: TestDevice, pool: TestPool, url: string, modelId: string): Promise<RingView> =>
  join(device, pool, url, { model: { ...manifest, modelId } })

test('rings: one that nobody serves any more vanishes, whether it ever formed or not; the next one has epochs of its own', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const {
    agents: [agent],
    ringId,
    epoch,
  } = await activeRing(t, pool, url, 1)
  const { jobId } = await pool.admin
    .client(url)
    .call('submitJob', { params: { poolId: pool.poolId }, body: submission('a') })
  agent.send(done((await agent.next('job-assign')).jobId, epoch, 'Hi', [1]))
  await agent.next('job-settled')
  const guest = await pool.member('Guest') // no agent of it runs
  for (let index = 0; index < 3; index++) {
    await joinAs(guest, pool, url, `model-${index}`)
    await leave(guest, pool, url, `model-${index}`)
  }
  await leave(pool.admin, pool, url)
  assert.equal((await agent.next('ring-left')).ringId, ringId)
  assert.deepEqual(await ringsOf(pool, url), [])
  await assert.rejects(leave(pool.admin, pool, url), { code: 'notInRing' })
  // an agent that was away hears of it
  agent.ready(ringId, epoch)
  assert.equal((await agent.next('ring-left')).ringId, ringId)
  // the job is there as it was
  const last = (await events(pool, url, jobId)).at(-1)
  assert.ok(last?.type === 'end' && last.job.state === 'done' && last.job.epoch === epoch)
  await join(pool.admin, pool, url)
  const again = await epochWith([agent], 1)
  assert.notEqual(again.ringId, ringId)
  assert.ok(again.epoch > epoch)
})

test('rings: what a vanished ring did is paid for, also when its members report later', async (t) => {
  const credits = { settleMs: 60_000, windowMs: 86_400_000, graceMs: 0, graceShare: 0 }
  const { url } = await startPlane(t, undefined, { ...quickSettings, credits })
  const pool = await createPool(url)
  const {
    agents: [agent],
    epoch,
  } = await activeRing(t, pool, url, 1)
  const params = { poolId: pool.poolId }
  const { jobId } = await pool.admin.client(url).call('submitJob', { params, body: submission('a') })
  await agent.next('job-assign')
  agent.send(done(jobId, epoch, 'Hi', [1, 2, 3, 4, 5]))
  await agent.next('job-settled')
  await leave(pool.admin, pool, url)
  assert.deepEqual(await ringsOf(pool, url), [])
  const weights = heldWeights(manifest.shape, planShards(manifest.shape, [1])[0])
  const report = signStatement(agent.device.key, pool.poolId, {
    kind: 'work',
    jobId,
    epoch,
    weights,
    tokens: 5,
    computeUs: 1000,
  })
  agent.send({ type: 'work-report', poolId: pool.poolId, jobId, report })
  await agent.next('report-kept')
  const use = signStatement(pool.admin.key, pool.poolId, {
    kind: 'use',
    jobId,
    epoch,
    weights: 0,
    tokens: 6,
    computeUs: 0,
  })
  await pool.admin.client(url).call('confirmUse', { params: { ...params, jobId }, body: use })
  const { entries } = await pool.admin.client(url).call('ledger', { params })
  assert.deepEqual(
    entries.map(({ kind, signature }) => [kind, signature !== null]),
    [
      ['work', true],
      ['use', true],
    ],
  )
  assert.equal(
    entries.reduce((sum, { amount }) => sum + amount, 0),
    0,
  )
})

test('rings: an admin removes one that others serve, after the job that runs; who waits for it is told', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const params = { poolId: pool.poolId }
  const client = pool.admin.client(url)
  const {
    agents: [leader, follower],
    ringId,
    epoch,
  } = await activeRing(t, pool, url, 2)
  await assert.rejects(remove(follower.device, pool, url), { code: 'notAdmin' })
  const [runs, waits] = [
    await client.call('submitJob', { params, body: submission('a') }),
    await client.call('submitJob', { params, body: submission('b') }),
  ]
  await leader.next('job-assign')
  assert.equal((await remove(pool.admin, pool, url)).jobRuns, true)
  leader.send(done(runs.jobId, epoch, 'Hi', [1]))
  for (const agent of [leader, follower]) assert.equal((await agent.next('ring-left')).ringId, ringId)
  assert.equal((await client.call('getJob', { params: { ...params, jobId: runs.jobId } })).state, 'done')
  const last = (await events(pool, url, waits.jobId)).at(-1)
  assert.ok(last?.type === 'end' && last.job.error?.code === 'ringEmpty')
  assert.deepEqual(await ringsOf(pool, url), [])
  await assert.rejects(remove(pool.admin, pool, url), { code: 'notFound', message: 'there is no ring for tiny' })
})

test('rings: a member removes what it serves alone, at once, also while it is offline', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const member = await pool.member('Laptop')
  await joinAs(member, pool, url, 'alone')
  assert.equal((await remove(member, pool, url, 'alone')).jobRuns, false)
  assert.deepEqual(await ringsOf(pool, url), [])
})

test('rings: one device takes part in so many and no more, and may join again those in which it is', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const member = await pool.member('Busy')
  await Promise.all(
    Array.from({ length: limits.ringsOfDevice }, (_, index) => joinAs(member, pool, url, `model-${index}`)),
  )
  await assert.rejects(joinAs(member, pool, url, 'one-more'), {
    code: 'ringLimit',
    message: new RegExp(`in ${limits.ringsOfDevice} rings`),
  })
  await joinAs(member, pool, url, 'model-0')
  await joinAs(pool.admin, pool, url, 'one-more')
  await assert.rejects(joinAs(member, pool, url, 'one-more'), { code: 'ringLimit' })
  await leave(member, pool, url, 'model-1')
  await joinAs(member, pool, url, 'one-more')
  assert.equal((await ringsOf(pool, url)).length, limits.ringsOfDevice)
})

test('rings: empty ones of an older version are gone after the start; those that wait for their members are not', async (t) => {
  const before = await startPlane(t)
  const pool = await createPool(before.url)
  await joinAs(pool.admin, pool, before.url, 'kept')
  await before.stop()
  const { store, close } = openDatabase(joinPath(before.folder, 'mesh.sqlite'))
  const ringStore = new RingStore(store)
  for (let index = 0; index < 36; index++)
    ringStore.define(newRingId(), pool.poolId, { model: { ...manifest, modelId: `old-${index}` }, quant: 'q8' }, 1)
  close()
  const { url } = await startPlane(t, before.folder)
  assert.deepEqual(
    (await ringsOf(pool, url)).map(({ modelId }) => modelId),
    ['kept'],
  )
})

test('rings: a device that was removed from the pool leaves no empty ring behind', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const member = await pool.member('Gone')
  const agent = await FakeAgent.connect(t, member, url)
  await joinAs(member, pool, url, 'its-own')
  await agent.next('ring-epoch')
  const list = signRevocations(pool.root, { after: 0, removed: [member.deviceId] }, Date.now())
  await pool.admin.client(url).call('publishRevocations', { params: { poolId: pool.poolId }, body: { list } })
  assert.deepEqual(await ringsOf(pool, url), [])
})
