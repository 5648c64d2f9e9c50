/** What changes a ring, and what must not: shares, leaving, restarts, certificates, machines that are gone. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { issueCertificate } from '../../shared/identity/pool-certificate.ts'
import { createPool, eventually, FakeAgent, manifest, quickSettings, startPlane, submission } from './plane.ts'
import { activeRing, done, epochWith, events, join, view } from './steps.ts'

test('rings: joining again with another share deals the columns anew', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const { agents, epoch } = await activeRing(t, pool, url, 2)
  await join(pool.admin, pool, url, { share: 3 })
  assert.ok((await epochWith(agents, 2)).epoch > epoch)
  const [first, second] = (await view(pool, url)).members
  assert.deepEqual(
    [first.share, first.ranges?.kvHeads, second.ranges?.kvHeads],
    [3, { start: 0, end: 3 }, { start: 3, end: 4 }],
  )
})

test('rings: joining again without a change leaves a healthy ring alone', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const {
    agents: [agent],
    epoch,
  } = await activeRing(t, pool, url, 1)
  const ring = await join(pool.admin, pool, url)
  assert.deepEqual([ring.status, ring.epoch], ['active', epoch])
  assert.deepEqual(await agent.unread(), [])
})

test('rings: who leaves is told, and the rest forms anew', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const {
    agents: [first, second],
    ringId,
  } = await activeRing(t, pool, url, 2)
  const leave = (): Promise<unknown> =>
    second.device
      .client(url)
      .call('leaveRing', { params: { poolId: pool.poolId }, body: { modelId: manifest.modelId } })
  await leave()
  assert.equal((await second.next('ring-left')).ringId, ringId)
  await epochWith([first], 1)
  await assert.rejects(leave(), { code: 'notInRing' })
})

test('rings: who leaves while a job runs stays until it is done', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const params = { poolId: pool.poolId }
  const {
    agents: [leader, follower],
    ringId,
    epoch,
  } = await activeRing(t, pool, url, 2)
  const { jobId } = await pool.admin.client(url).call('submitJob', { params, body: submission('x') })
  await leader.next('job-assign')
  await follower.device.client(url).call('leaveRing', { params, body: { modelId: manifest.modelId } })
  assert.deepEqual(await follower.unread(), [])
  leader.send(done(jobId, epoch, 'Hi', [1]))
  assert.equal((await follower.next('ring-left')).ringId, ringId)
  await epochWith([leader], 1)
  assert.equal((await pool.admin.client(url).call('getJob', { params: { ...params, jobId } })).state, 'done')
})

test('rings: when the last one leaves, jobs that wait fail instead of waiting for ever', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const params = { poolId: pool.poolId }
  const client = pool.admin.client(url)
  const {
    agents: [agent],
    ringId,
    epoch,
  } = await activeRing(t, pool, url, 1)
  const jobs = [
    await client.call('submitJob', { params, body: submission('runs') }),
    await client.call('submitJob', { params, body: submission('waits') }),
  ]
  await agent.next('job-assign')
  await client.call('leaveRing', { params, body: { modelId: manifest.modelId } })
  agent.send(done(jobs[0].jobId, epoch, 'Hi', [1]))
  assert.equal((await agent.next('ring-left')).ringId, ringId)
  const last = (await events(pool, url, jobs[1].jobId)).at(-1)
  assert.ok(last?.type === 'end' && last.job.error?.code === 'ringEmpty')
  // the same key, the same job
  assert.equal((await client.call('submitJob', { params, body: submission('waits') })).jobId, jobs[1].jobId)
  await assert.rejects(client.call('submitJob', { params, body: submission('new') }), { code: 'ringEmpty' })
  await join(pool.admin, pool, url)
  assert.ok((await epochWith([agent], 1)).epoch > epoch)
})

test('rings: a model that nobody can split is refused, and so is another shape for the same files', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const withShape = (change: object): object => ({ model: { ...manifest, shape: { ...manifest.shape, ...change } } })
  await assert.rejects(join(pool.admin, pool, url, withShape({ heads: 7 })), { code: 'planImpossible' })
  assert.deepEqual(await pool.admin.client(url).call('listRings', { params: { poolId: pool.poolId } }), [])
  await join(pool.admin, pool, url)
  await assert.rejects(join(await pool.member('Other'), pool, url, withShape({ ffn: 1408 })), {
    code: 'requestInvalid',
    message: /shape/,
  })
})

test('rings: a device that was started again is in a new epoch at once, with its new address', async (t) => {
  const { url } = await startPlane(t, undefined, { ...quickSettings, ringGraceMs: 60_000 })
  const pool = await createPool(url)
  const {
    agents: [first, second],
    epoch,
  } = await activeRing(t, pool, url, 2)
  second.kill()
  await eventually('it is shown as offline', async () => (await view(pool, url)).members[1].state === 'offline')
  assert.equal((await view(pool, url)).reason, 'waiting for Member 1')
  const back = await FakeAgent.connect(t, second.device, url, 2)
  const { ring } = await first.next('ring-epoch')
  assert.deepEqual([ring.epoch, ring.members[1].addresses], [epoch + 1, ['/ip4/127.0.0.1/tcp/2']])
  while ((await back.next('ring-epoch')).ring.epoch !== epoch + 1); // it may hear of the older one first
})

test('rings: a newer connection of a device that was ready has to be ready anew', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const {
    agents: [old],
    epoch,
    ringId,
  } = await activeRing(t, pool, url, 1)
  const agent = await FakeAgent.connect(t, pool.admin, url)
  await old.closed
  assert.notEqual((await view(pool, url)).members[0].state, 'ready')
  assert.equal((await agent.next('ring-epoch')).ring.epoch, epoch)
  agent.ready(ringId, epoch)
  await agent.next('ring-active')
})

test('rings: an idle ring outlives a restart of the control plane, however its agents come back', async (t) => {
  const before = await startPlane(t)
  const pool = await createPool(before.url)
  const { agents, ringId, epoch } = await activeRing(t, pool, before.url, 2)
  await before.stop()
  const { url } = await startPlane(t, before.folder)
  const first = await FakeAgent.connect(t, agents[0].device, url)
  first.ready(ringId, epoch)
  await first.unread()
  assert.match((await view(pool, url)).reason, /waiting for Member 1/) // and no ring of one meanwhile
  const second = await FakeAgent.connect(t, agents[1].device, url)
  second.ready(ringId, epoch)
  assert.equal((await first.next('ring-active')).epoch, epoch)
})

test('rings: after a restart of the control plane a member that stays away is left out after the lease', async (t) => {
  const before = await startPlane(t)
  const pool = await createPool(before.url)
  const { agents, epoch } = await activeRing(t, pool, before.url, 2)
  await before.stop()
  const { url } = await startPlane(t, before.folder, { ...quickSettings, leaseMs: 600 })
  const first = await FakeAgent.connect(t, agents[0].device, url)
  const beat = setInterval(() => first.send({ type: 'heartbeat', freeMemoryBytes: 1 }), 100)
  t.after(() => clearInterval(beat))
  assert.equal((await epochWith([first], 1)).epoch, epoch + 1)
})

test('rings: a device without a valid certificate is left out and told why, until it has one', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const {
    agents: [first],
  } = await activeRing(t, pool, url, 1)
  const device = await pool.member('Late')
  await join(device, pool, url)
  device.certificates.set(
    pool.poolId,
    issueCertificate(pool.root, { deviceId: device.deviceId, role: 'member' }, Date.now() - 60_000, 1000),
  )
  const late = await FakeAgent.connect(t, device, url)
  const shown = (await view(pool, url)).members.find(({ name }) => name === 'Late')
  assert.deepEqual([shown?.state, shown?.error?.code, shown?.rank], ['failed', 'notMember', undefined])
  assert.deepEqual(await first.unread(), [])
  const renewed = issueCertificate(pool.root, { deviceId: device.deviceId, role: 'member' }, Date.now())
  await pool.admin
    .client(url)
    .call('publishCertificate', { params: { poolId: pool.poolId }, body: { certificate: renewed } })
  await epochWith([first, late], 2)
})

test('rings: an agent that left while it was away is told when it speaks of the ring', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const {
    agents: [first, second],
    ringId,
    epoch,
  } = await activeRing(t, pool, url, 2)
  second.kill()
  await epochWith([first], 1)
  await second.device
    .client(url)
    .call('leaveRing', { params: { poolId: pool.poolId }, body: { modelId: manifest.modelId } })
  const back = await FakeAgent.connect(t, second.device, url)
  back.ready(ringId, epoch)
  assert.equal((await back.next('ring-left')).ringId, ringId)
})

test('rings: a machine that is gone without a word is shown as offline after the lease', async (t) => {
  const { url } = await startPlane(t, undefined, { ...quickSettings, leaseMs: 1500 })
  const pool = await createPool(url)
  const {
    agents: [agent],
  } = await activeRing(t, pool, url, 1)
  const frozen = Date.now()
  agent.freeze()
  await eventually('it is shown as offline', async () => (await view(pool, url)).members[0].state === 'offline')
  assert.ok(Date.now() - frozen >= 1000, 'not before')
  assert.notEqual((await view(pool, url)).status, 'active')
})

test('rings: members of a pool whose control plane lost its database are known again when they come', async (t) => {
  const before = await startPlane(t)
  const pool = await createPool(before.url)
  const member = await pool.member('Member')
  const { url } = await startPlane(t)
  await pool.admin.register(url)
  await member.register(url)
  const certificate = pool.admin.certificates.get(pool.poolId) as string
  await pool.admin.client(url).call('createPool', {
    body: { poolId: pool.poolId, networkId: 'home', name: 'friends', rootPublicKey: pool.rootPublicKey, certificate },
  })
  await FakeAgent.connect(t, member, url)
  const peers = await member.client(url).call('listPeers', { params: { poolId: pool.poolId } })
  assert.deepEqual(
    peers.map(({ name, online }) => [name, online]),
    [
      ['Admin', false],
      ['Member', true],
    ],
  )
})
