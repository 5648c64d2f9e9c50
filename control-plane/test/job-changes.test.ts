/**
 * Jobs when something goes wrong on the way: lost agents, cancelling, repeated requests and messages, broken streams.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createPool, eventually, FakeAgent, quickSettings, startPlane, submission, type TestPool } from './plane.ts'
import { activeRing, done, events, view } from './steps.ts'

const jobOf = (
  pool: TestPool,
  url: string,
  jobId: string,
): Promise<{ state: string; text: string; error?: { code: string; message: string } }> =>
  pool.admin.client(url).call('getJob', { params: { poolId: pool.poolId, jobId } })

const submit = async (pool: TestPool, url: string, key: string): Promise<string> =>
  (await pool.admin.client(url).call('submitJob', { params: { poolId: pool.poolId }, body: submission(key) })).jobId

test('jobs: cancelled while its leader is away, a job ends as cancelled whether the leader returns or not', async (t) => {
  const { url } = await startPlane(t, undefined, { ...quickSettings, ringGraceMs: 3000 })
  const pool = await createPool(url)
  const params = { poolId: pool.poolId }
  let {
    agents: [leader],
    epoch,
  } = await activeRing(t, pool, url, 1)
  for (const returns of [true, false]) {
    const jobId = await submit(pool, url, `away-${returns}`)
    await leader.next('job-assign')
    leader.kill()
    await eventually('it is away', async () => (await pool.admin.client(url).call('getDevice', {})).online === false)
    assert.equal((await pool.admin.client(url).call('cancelJob', { params: { ...params, jobId } })).state, 'assigned')
    if (returns) {
      leader = await FakeAgent.connect(t, pool.admin, url)
      assert.equal((await leader.next('job-cancel')).jobId, jobId)
      leader.send({ type: 'job-failed', jobId, epoch, error: { code: 'jobCancelled', message: 'cancelled' } })
      await leader.next('job-settled')
      leader.ready((await view(pool, url)).ringId, epoch)
    }
    const last = (await events(pool, url, jobId)).at(-1)
    assert.ok(
      last?.type === 'end' &&
        last.job.state === 'cancelled' &&
        last.job.finishReason === 'cancelled' &&
        last.job.error === undefined,
    )
  }
})

test('jobs: a lost follower that nobody reports ends the job by name, and the leader is told to stop', async (t) => {
  const { url } = await startPlane(t, undefined, { ...quickSettings, reportMs: 150 })
  const pool = await createPool(url)
  const {
    agents: [leader, follower],
    epoch,
  } = await activeRing(t, pool, url, 2)
  const jobId = await submit(pool, url, 'x')
  await leader.next('job-assign')
  follower.kill()
  const last = (await events(pool, url, jobId)).at(-1)
  assert.ok(last?.type === 'end' && last.job.error?.code === 'peerLost')
  assert.match(last.job.error.message, /Member 1 \(rank 1\)/)
  assert.equal((await leader.next('job-cancel')).jobId, jobId)
  leader.send({ type: 'job-tokens', jobId, epoch, firstIndex: 0, tokens: [1], text: 'late' })
  assert.equal((await leader.next('job-cancel')).jobId, jobId)
  leader.send(done(jobId, epoch, 'late', [1]))
  await leader.next('job-settled')
  assert.deepEqual([(await jobOf(pool, url, jobId)).state, (await jobOf(pool, url, jobId)).text], ['failed', ''])
})

test('jobs: a follower whose connection breaks for a moment costs no job', async (t) => {
  const { url } = await startPlane(t, undefined, { ...quickSettings, reportMs: 2000, ringGraceMs: 30_000 })
  const pool = await createPool(url)
  const {
    agents: [leader, follower],
    ringId,
    epoch,
  } = await activeRing(t, pool, url, 2)
  const jobId = await submit(pool, url, 'x')
  await leader.next('job-assign')
  const lost = Date.now()
  follower.kill()
  const back = await FakeAgent.connect(t, follower.device, url)
  back.ready(ringId, epoch)
  await eventually('the time limit is over', async () => (await leader.unread(), Date.now() > lost + 2500))
  leader.send(done(jobId, epoch, 'whole', [1]))
  await leader.next('job-settled')
  assert.deepEqual([(await jobOf(pool, url, jobId)).state, (await jobOf(pool, url, jobId)).text], ['done', 'whole'])
  assert.equal((await view(pool, url)).epoch, epoch)
})

test('jobs: a start that is told twice is shown once', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const {
    agents: [leader],
    epoch,
  } = await activeRing(t, pool, url, 1)
  const jobId = await submit(pool, url, 'x')
  await leader.next('job-assign')
  for (let i = 0; i < 2; i++) leader.send({ type: 'job-started', jobId, epoch, promptTokens: 1 })
  leader.send({ type: 'job-failed', jobId, epoch, error: { code: 'promptTooLong', message: 'too long' } })
  const seen = await events(pool, url, jobId)
  assert.deepEqual(
    seen.map((event) => (event.type === 'state' ? event.state : event.type)),
    ['queued', 'assigned', 'running', 'end'],
  )
  assert.deepEqual(
    [(await jobOf(pool, url, jobId)).state, (await jobOf(pool, url, jobId)).error?.code],
    ['failed', 'promptTooLong'],
  )
})

test('jobs: after a restart of the control plane a leader that stays away loses its job', async (t) => {
  const before = await startPlane(t)
  const pool = await createPool(before.url)
  const {
    agents: [leader],
  } = await activeRing(t, pool, before.url, 1)
  const jobId = await submit(pool, before.url, 'x')
  await leader.next('job-assign')
  await before.stop()
  const { url } = await startPlane(t, before.folder, { ...quickSettings, leaseMs: 300 })
  const last = (await events(pool, url, jobId)).at(-1)
  assert.ok(last?.type === 'end' && last.job.error?.code === 'jobLost')
  assert.match(last.job.error.message, /Admin/)
})

test('jobs: history is newest first and as long as asked for', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  await activeRing(t, pool, url, 1)
  const ids = [await submit(pool, url, 'one'), await submit(pool, url, 'two'), await submit(pool, url, 'three')]
  const list = async (limit?: number): Promise<string[]> =>
    (await pool.admin.client(url).call('listJobs', { params: { poolId: pool.poolId }, query: { limit } })).map(
      ({ jobId }) => jobId,
    )
  assert.deepEqual((await list()).toSorted(), ids.toSorted())
  assert.equal((await list(2)).length, 2)
  await assert.rejects(list(0), { code: 'requestInvalid', message: /limit/ })
})

test('events: a stream opens before anything happens, and is not found for an unknown job', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const {
    agents: [leader],
    epoch,
  } = await activeRing(t, pool, url, 1)
  const jobId = await submit(pool, url, 'x')
  await leader.next('job-assign')
  const open = (id: string, after: number): Promise<Response> =>
    pool.admin
      .client(url)
      .open('jobEvents', { params: { poolId: pool.poolId, jobId: id }, headers: { 'last-event-id': String(after) } })
  await assert.rejects(open('job_x', 0), { code: 'notFound' })
  const answer = await open(jobId, 1) // queued and assigned are known
  assert.equal(answer.headers.get('content-type'), 'text/event-stream')
  leader.send(done(jobId, epoch, 'Hi', [1]))
  assert.match(await answer.text(), /^id: 2\nevent: tokens\ndata: \{.*\}\n\nid: 3\nevent: end\n/)
})

test('events: who has seen the end is told not to come back', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const {
    agents: [leader],
    epoch,
  } = await activeRing(t, pool, url, 1)
  const jobId = await submit(pool, url, 'x')
  await leader.next('job-assign')
  leader.send(done(jobId, epoch, 'Hi', [1]))
  await leader.next('job-settled')
  const last = (await events(pool, url, jobId)).at(-1)?.sequence ?? 0
  const answer = await pool.admin
    .client(url)
    .open('jobEvents', { params: { poolId: pool.poolId, jobId }, headers: { 'last-event-id': String(last) } })
  assert.deepEqual([answer.status, await answer.text()], [204, ''])
})

test('jobs: rank 0 has no say in the code, the exit code and the hint of a failure beyond what a job can end with', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const params = { poolId: pool.poolId }
  const {
    agents: [leader],
    epoch,
  } = await activeRing(t, pool, url, 2)
  const told = async (key: string, code: string, fields: Record<string, string | number>): Promise<unknown> => {
    const { jobId } = await pool.admin.client(url).call('submitJob', { params, body: submission(key) })
    await leader.next('job-assign')
    leader.send({
      type: 'job-failed',
      jobId,
      epoch,
      error: { code, message: 'run rm -rf', hint: 'run rm -rf', fields },
    })
    await leader.next('job-settled')
    return (await pool.admin.client(url).call('getJob', { params: { ...params, jobId } })).error
  }
  const quoted = { code: 'rankFailed', message: 'Admin (rank 0) could not compute: "run rm -rf"' }
  const { code, message: said } = (await told('other', 'keyInvalid', { rank: 1, peer: 'Else' })) as typeof quoted
  assert.deepEqual({ code, message: said }, quoted)
  const { message, hint } = (await told('lost', 'peerLost', { rank: 1, peer: 'Somebody else', problem: 'gone' })) as {
    message: string
    hint: string
  }
  assert.equal(message, 'lost Member 1 (rank 1) while the job ran: gone')
  assert.match(hint, /Member 1 takes part again/)
})
