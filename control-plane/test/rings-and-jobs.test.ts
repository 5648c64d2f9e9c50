/** Rings and jobs over real sockets: epochs, loss, streaming, cancelling, restarts. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RingNetwork } from '../../shared/schema/ring.ts'
import { createPool, eventually, FakeAgent, manifest, type Plane, startPlane, submission } from './plane.ts'
import { activeRing, done, epochWith, events, join, view } from './steps.ts'

for (const count of [1, 2, 3, 4]) {
  test(`rings: ${count} members get ranks, neighbours and columns that cover the model`, async (t) => {
    const { url } = await startPlane(t)
    const pool = await createPool(url)
    const { epoch, agents } = await activeRing(t, pool, url, count)
    const ring = await view(pool, url)
    assert.deepEqual([ring.status, ring.epoch, ring.worldSize, ring.reason], ['active', epoch, count, ''])
    let [heads, columns] = [0, 0]
    for (const [rank, member] of ring.members.entries()) {
      assert.equal(member.rank, rank)
      assert.equal(member.rightNeighbor, agents[(rank + 1) % count].device.deviceId)
      assert.equal(member.leftNeighbor, agents[(rank + count - 1) % count].device.deviceId)
      assert.equal(member.ranges?.kvHeads.start, heads)
      assert.equal(member.ranges?.ffn.start, columns)
      heads = member.ranges.kvHeads.end
      columns = member.ranges.ffn.end
    }
    assert.deepEqual([heads, columns], [4, 704])
  })
}

test('rings: other files or another quantisation are refused while others serve the model', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  await activeRing(t, pool, url, 1)
  const member = await pool.member('Other')
  await assert.rejects(join(member, pool, url, { model: { ...manifest, revision: 'b'.repeat(64) } }), {
    code: 'modelMismatch',
  })
  await assert.rejects(join(member, pool, url, { quant: 'q4' }), { code: 'quantMismatch' })
})

test('rings: a lost member is shown, then left out after the grace time, and taken back when it returns', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const {
    agents: [first, second],
    epoch,
  } = await activeRing(t, pool, url, 2)
  second.kill()
  const alone = await epochWith([first], 1)
  assert.ok(alone.epoch > epoch)
  assert.equal((await view(pool, url)).members.find(({ name }) => name === 'Member 1')?.state, 'offline')
  first.ready(alone.ringId, alone.epoch)
  await first.next('ring-active')
  const back = await FakeAgent.connect(t, second.device, url)
  assert.ok((await epochWith([first, back], 2)).epoch > alone.epoch)
})

test('rings: a failed load is shown with its reason and tried again when the device joins again', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const agent = await FakeAgent.connect(t, pool.admin, url)
  await join(pool.admin, pool, url)
  const { ring } = await agent.next('ring-epoch')
  agent.send({
    type: 'ring-state',
    ringId: ring.ringId,
    epoch: ring.epoch,
    state: 'failed',
    progress: 0,
    error: { code: 'diskFull', message: 'the disk is full', hint: '', fields: {} },
  })
  agent.send({ type: 'heartbeat', freeMemoryBytes: 1 })
  const shown = await view(pool, url)
  assert.deepEqual([shown.status, shown.members[0].state], ['waiting', 'failed'])
  assert.match(shown.reason, /Admin: the disk is full/)
  await join(pool.admin, pool, url)
  assert.equal((await agent.next('ring-epoch')).ring.epoch, ring.epoch)
  agent.ready(ring.ringId, ring.epoch)
  await agent.next('ring-active')
})

test('rings: broken links make a new epoch of the same members', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const { agents, ringId, epoch } = await activeRing(t, pool, url, 2)
  agents[0].send({
    type: 'ring-state',
    ringId,
    epoch,
    state: 'failed',
    progress: 1,
    error: { code: 'peerLost', message: 'lost', hint: '', fields: {} },
  })
  assert.equal((await epochWith(agents, 2)).epoch, epoch + 1)
})

test('rings: the links are shown as rank 0 reports them, until the next epoch', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const {
    agents: [first, second],
    ringId,
    epoch,
  } = await activeRing(t, pool, url, 2)
  const figures = { roundTripMs: 0.4, bytesPerSecond: 9e7 }
  const network: RingNetwork = {
    links: [{ from: 0, to: 1, ...figures, measured: true, path: 'direct' }],
    slowest: figures,
    collective: 'auto',
    decode: { bytes: 8192, algorithm: 'direct' },
    prefill: { bytes: 2 ** 21, algorithm: 'ring' },
  }
  const ready = { type: 'ring-state', ringId, epoch, state: 'ready', progress: 1 } as const
  first.send({ ...ready, network })
  second.send({ ...ready, network: { ...network, links: [] } }) // who is not rank 0 has nothing to say
  for (const agent of [first, second]) await agent.unread()
  assert.deepEqual((await view(pool, url)).network, network)
  first.send({ ...ready, state: 'failed', error: { code: 'peerLost', message: 'lost', hint: '', fields: {} } })
  await epochWith([first, second], 2)
  assert.equal((await view(pool, url)).network, undefined)
})

test('jobs: nobody serves the model; both or no prompt; the same key twice', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const params = { poolId: pool.poolId }
  const client = pool.admin.client(url)
  await assert.rejects(client.call('submitJob', { params, body: submission('a') }), { code: 'ringEmpty' })
  await activeRing(t, pool, url, 1)
  await assert.rejects(
    client.call('submitJob', { params, body: submission('b', { messages: [{ role: 'user', content: 'x' }] }) }),
    { code: 'requestInvalid' },
  )
  const job = await client.call('submitJob', { params, body: submission('c') })
  assert.equal((await client.call('submitJob', { params, body: submission('c') })).jobId, job.jobId)
  await assert.rejects(client.call('getJob', { params: { ...params, jobId: 'job_x' } }), { code: 'notFound' })
})

test('jobs: queued, assigned to rank 0, streamed once, stored; the next one follows', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const {
    agents: [leader],
    epoch,
  } = await activeRing(t, pool, url, 2)
  const params = { poolId: pool.poolId }
  const [one, two] = await Promise.all(
    ['one', 'two'].map((key) => pool.admin.client(url).call('submitJob', { params, body: submission(key) })),
  )
  const assigned = await leader.next('job-assign')
  const jobId = assigned.jobId
  assert.equal(assigned.epoch, epoch)
  const streaming = events(pool, url, jobId)
  leader.send({ type: 'job-started', jobId, epoch, promptTokens: 1 })
  leader.send({ type: 'job-tokens', jobId, epoch, firstIndex: 0, tokens: [5], text: 'He' })
  // sent again after a reconnect
  leader.send({ type: 'job-tokens', jobId, epoch, firstIndex: 0, tokens: [5], text: 'He' })
  leader.send({ type: 'job-tokens', jobId, epoch, firstIndex: 1, tokens: [6], text: 'llo' })
  leader.send(done(jobId, epoch, 'Hello!', [5, 6, 7]))
  assert.equal((await leader.next('job-settled')).jobId, jobId)
  const seen = await streaming
  assert.deepEqual(
    seen.map(({ sequence }) => sequence),
    seen.map((_, index) => index),
  )
  assert.equal(seen.flatMap((event) => (event.type === 'tokens' ? [event.text] : [])).join(''), 'Hello!')
  assert.deepEqual(
    seen.flatMap((event) => (event.type === 'tokens' ? event.tokens : [])),
    [5, 6, 7],
  )
  assert.deepEqual(await events(pool, url, jobId, 2), seen.slice(3))
  const job = await pool.admin.client(url).call('getJob', { params: { ...params, jobId } })
  assert.deepEqual([job.state, job.text, job.worldSize, job.finishReason], ['done', 'Hello!', 2, 'stop'])
  const next = await leader.next('job-assign')
  assert.deepEqual([jobId, next.jobId].toSorted(), [one.jobId, two.jobId].toSorted())
})

test('jobs: cancelled while queued, and while running by rank 0; only by its owner or an admin', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const {
    agents: [leader, follower],
    epoch,
  } = await activeRing(t, pool, url, 2)
  const params = { poolId: pool.poolId }
  const client = pool.admin.client(url)
  const running = await client.call('submitJob', { params, body: submission('running') })
  await leader.next('job-assign')
  const queued = await client.call('submitJob', { params, body: submission('queued') })
  await assert.rejects(follower.device.client(url).call('cancelJob', { params: { ...params, jobId: queued.jobId } }), {
    code: 'notAdmin',
  })
  assert.equal((await client.call('cancelJob', { params: { ...params, jobId: queued.jobId } })).state, 'cancelled')
  await client.call('cancelJob', { params: { ...params, jobId: running.jobId } })
  assert.equal((await leader.next('job-cancel')).jobId, running.jobId)
  leader.send({ ...done(running.jobId, epoch, 'part', [1]), finishReason: 'cancelled' } as Parameters<
    FakeAgent['send']
  >[0])
  await leader.next('job-settled')
  assert.equal((await client.call('getJob', { params: { ...params, jobId: running.jobId } })).state, 'cancelled')
})

test('jobs: only the leader is heard', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const {
    agents: [leader, follower],
    epoch,
  } = await activeRing(t, pool, url, 2)
  const { jobId } = await pool.admin
    .client(url)
    .call('submitJob', { params: { poolId: pool.poolId }, body: submission('x') })
  await leader.next('job-assign')
  follower.send(done(jobId, epoch, 'forged', [1]))
  leader.send(done(jobId, epoch, 'true', [2]))
  await leader.next('job-settled')
  assert.equal((await pool.admin.client(url).call('getJob', { params: { poolId: pool.poolId, jobId } })).text, 'true')
})

test('jobs: a leader that goes away fails the job by name; one that comes back in time goes on', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const {
    agents: [leader],
    epoch,
  } = await activeRing(t, pool, url, 2)
  const params = { poolId: pool.poolId }
  const { jobId } = await pool.admin.client(url).call('submitJob', { params, body: submission('x') })
  await leader.next('job-assign')
  leader.kill()
  await leader.closed
  const back = await FakeAgent.connect(t, leader.device, url)
  back.ready((await back.next('ring-epoch')).ring.ringId, epoch)
  assert.equal((await back.next('job-assign')).jobId, jobId)
  back.send(done(jobId, epoch, 'kept', [1]))
  await back.next('job-settled')

  const second = await pool.admin.client(url).call('submitJob', { params, body: submission('y') })
  await back.next('job-assign')
  back.kill()
  const seen = await events(pool, url, second.jobId)
  const last = seen.at(-1)
  assert.ok(last?.type === 'end' && last.job.error?.code === 'jobLost')
  assert.match(last.job.error.message, /Admin/)
})

test('restart: intents, history and streams continue on the same database; the epoch stays', async (t) => {
  const first = await startPlane(t)
  const pool = await createPool(first.url)
  const {
    agents: [leader, follower],
    ringId,
    epoch,
  } = await activeRing(t, pool, first.url, 2)
  const params = { poolId: pool.poolId }
  const { jobId } = await pool.admin.client(first.url).call('submitJob', { params, body: submission('x') })
  await leader.next('job-assign')
  leader.send({ type: 'job-tokens', jobId, epoch, firstIndex: 0, tokens: [5], text: 'He' })
  leader.send({ type: 'heartbeat', freeMemoryBytes: 1 })
  await eventually(
    'the text has come',
    async () => (await pool.admin.client(first.url).call('getJob', { params: { ...params, jobId } })).text === 'He',
  )
  await first.stop()

  const second: Plane = await startPlane(t, first.folder)
  const agents = [
    await FakeAgent.connect(t, leader.device, second.url),
    await FakeAgent.connect(t, follower.device, second.url),
  ]
  for (const agent of agents) assert.equal((await agent.next('ring-epoch')).ring.epoch, epoch)
  for (const agent of agents) agent.ready(ringId, epoch)
  agents[0].send({ type: 'job-tokens', jobId, epoch, firstIndex: 0, tokens: [5], text: 'He' })
  agents[0].send({ type: 'job-tokens', jobId, epoch, firstIndex: 1, tokens: [6], text: 'y' })
  agents[0].send(done(jobId, epoch, 'Hey', [5, 6]))
  await agents[0].next('job-settled')
  const seen = await events(pool, second.url, jobId, 1)
  assert.equal(seen.flatMap((event) => (event.type === 'tokens' ? [event.text] : [])).join(''), 'Hey')
  assert.equal((await view(pool, second.url)).status, 'active')
})
