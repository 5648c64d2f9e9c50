/**
 * Rank 0 takes a job and does not get on with it: the job ends, the device is left out, and the next prompt is
 * answered.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createPool, eventually, type FakeAgent, quickSettings, startPlane, submission } from './plane.ts'
import { activeRing, done, epochWith, view } from './steps.ts'

const settings = { ...quickSettings, leaseMs: 60_000, stallMs: 500, health: { retryMs: 600_000 } }

const answers = async (agent: FakeAgent, ringId: string): Promise<void> => {
  const { epoch } = await epochWith([agent], 1)
  agent.ready(ringId, epoch)
  const { jobId } = await agent.next('job-assign')
  agent.send(done(jobId, epoch, 'Hi', [1]))
  await agent.next('job-settled')
}

test('stalled jobs: rank 0 that says nothing of a job any more, or repeats itself, is left out', async (t) => {
  for (const repeats of [false, true]) {
    const { url } = await startPlane(t, undefined, settings)
    const pool = await createPool(url)
    const params = { poolId: pool.poolId }
    const client = pool.admin.client(url)
    const {
      agents: [leader, follower],
      ringId,
      epoch,
    } = await activeRing(t, pool, url, 2)
    const { jobId } = await client.call('submitJob', { params, body: submission('first') })
    await leader.next('job-assign')
    leader.send({ type: 'job-started', jobId, epoch, promptTokens: 3 })
    const timer = setInterval(() => {
      if (!repeats) return
      leader.send({ type: 'job-tokens', jobId, epoch, firstIndex: 0, tokens: [1], text: 'a' })
      leader.send({ type: 'job-tokens', jobId, epoch, firstIndex: 1, tokens: [], text: '' })
      leader.send({ type: 'job-progress', jobId, epoch, readTokens: 3 })
      leader.send({ type: 'job-progress', jobId, epoch, readTokens: 1e9 })
    }, 50)
    t.after(() => clearInterval(timer))
    const next = await client.call('submitJob', { params, body: submission('second') })
    await answers(follower, ringId)
    const { state, error } = await client.call('getJob', { params: { ...params, jobId } })
    assert.deepEqual(
      [state, error?.code, error?.message],
      ['failed', 'jobStalled', 'Admin did not get on with the job for 500 ms'],
    )
    assert.equal((await client.call('getJob', { params: { ...params, jobId: next.jobId } })).state, 'done')
    const { members } = await view(pool, url)
    assert.match(members.find(({ name }) => name === 'Admin')?.error?.message ?? '', /did not get on with the job/)
    clearInterval(timer)
  }
})

test('stalled jobs: a prompt that is read, and an answer that is written, may take many times as long', async (t) => {
  const { url } = await startPlane(t, undefined, { ...settings, stallMs: 1500 })
  const pool = await createPool(url)
  const {
    agents: [leader],
    epoch,
  } = await activeRing(t, pool, url, 1)
  const { jobId } = await pool.admin
    .client(url)
    .call('submitJob', { params: { poolId: pool.poolId }, body: submission('long') })
  await leader.next('job-assign')
  const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 200))
  for (let readTokens = 64; readTokens <= 1024; readTokens += 64) {
    leader.send({ type: 'job-progress', jobId, epoch, readTokens })
    await pause()
  }
  leader.send({ type: 'job-started', jobId, epoch, promptTokens: 1024 })
  for (let index = 0; index < 5; index++) {
    leader.send({ type: 'job-tokens', jobId, epoch, firstIndex: index, tokens: [1], text: 'x' })
    await pause()
  }
  leader.send(done(jobId, epoch, 'xxxxx', [1, 1, 1, 1, 1]))
  await leader.next('job-settled')
  assert.equal((await pool.admin.client(url).call('getJob', { params: { poolId: pool.poolId, jobId } })).state, 'done')
})

test('stalled jobs: a cancelled job that rank 0 does not end is ended, and counts against it', async (t) => {
  const { url } = await startPlane(t, undefined, { ...settings, stallMs: 60_000, cancelMs: 300 })
  const pool = await createPool(url)
  const params = { poolId: pool.poolId }
  const client = pool.admin.client(url)
  const {
    agents: [leader, follower],
    ringId,
  } = await activeRing(t, pool, url, 2)
  const { jobId } = await client.call('submitJob', { params, body: submission('first') })
  await leader.next('job-assign')
  await client.call('cancelJob', { params: { ...params, jobId } })
  await leader.next('job-cancel')
  await eventually(
    'it is cancelled',
    async () => (await client.call('getJob', { params: { ...params, jobId } })).state === 'cancelled',
  )
  await client.call('submitJob', { params, body: submission('second') })
  await answers(follower, ringId)
})
