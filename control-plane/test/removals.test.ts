/** Removal, renewal and replay as the control plane sees them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { newKeyPair } from '../../shared/identity/keys.ts'
import { certificateLifetimeMs, issueCertificate, verifyCertificate } from '../../shared/identity/pool-certificate.ts'
import { signRevocations } from '../../shared/identity/revocation-list.ts'
import { limits } from '../../shared/limits.ts'
import { createPool, FakeAgent, startPlane, submission, TestDevice, type TestPool, signFor } from './plane.ts'
import { activeRing, done, epochWith } from './steps.ts'

const remove = (pool: TestPool, url: string, after: number, ...removed: string[]): Promise<unknown> =>
  pool.admin.client(url).call('publishRevocations', {
    params: { poolId: pool.poolId },
    body: { list: signRevocations(pool.root, { after, removed }, Date.now()) },
  })

for (const [who, index] of [
  ['a follower', 1],
  ['the leader', 0],
] as const) {
  test(`removal: ${who} in the middle of a job: the job ends at once by name, the next one runs without it`, async (t) => {
    const { url } = await startPlane(t)
    const pool = await createPool(url)
    const { agents, epoch } = await activeRing(t, pool, url, 2)
    const asker = await pool.member('Asker')
    const params = { poolId: pool.poolId }
    const { jobId } = await asker.client(url).call('submitJob', { params, body: submission('one') })
    await agents[0].next('job-assign')
    agents[0].send({ type: 'job-started', jobId, epoch, promptTokens: 3 })
    await remove(pool, url, 0, agents[index].device.deviceId)
    const job = await asker.client(url).call('getJob', { params: { ...params, jobId } })
    assert.deepEqual([job.state, job.error?.code], ['failed', 'peerRemoved'])
    assert.match(job.error?.message ?? '', index === 0 ? /^Admin was removed/ : /^Member 1 was removed/)
    await agents[index].next('ring-left')
    assert.equal((await agents[index].next('revocations')).poolId, pool.poolId)

    const stays = agents[1 - index]
    const next = await epochWith([stays], 1)
    stays.ready(next.ringId, next.epoch)
    await stays.next('ring-active')
    const second = await asker.client(url).call('submitJob', { params, body: submission('two') })
    await stays.next('job-assign')
    stays.send({ type: 'job-started', jobId: second.jobId, epoch: next.epoch, promptTokens: 3 })
    stays.send(done(second.jobId, next.epoch, 'hi', [1]))
    await stays.next('job-settled')
    assert.equal((await asker.client(url).call('getJob', { params: { ...params, jobId: second.jobId } })).state, 'done')
  })
}

test('removal: the device is refused everywhere, after a restart too, and comes back only with a newer list', async (t) => {
  const first = await startPlane(t)
  const pool = await createPool(first.url)
  const device = await pool.member('Lost')
  const params = { poolId: pool.poolId }
  const look = (url: string): Promise<unknown> => device.client(url).call('listPeers', { params })
  await look(first.url)
  await remove(pool, first.url, 0, device.deviceId)
  await assert.rejects(look(first.url), { code: 'memberRemoved' })
  assert.deepEqual(
    (await pool.admin.client(first.url).call('listPeers', { params })).map(({ name }) => name),
    ['Admin'],
  )
  await first.stop()
  const { url } = await startPlane(t, first.folder)
  await assert.rejects(look(url), { code: 'memberRemoved' })
  const agent = await FakeAgent.connect(t, device, url)
  assert.deepEqual(
    (await agent.unread()).filter(({ type }) => type === 'revocations'),
    [],
  )
  const certificate = issueCertificate(pool.root, { deviceId: device.deviceId, role: 'member' }, Date.now())
  await assert.rejects(pool.admin.client(url).call('publishCertificate', { params, body: { certificate } }), {
    code: 'memberRemoved',
  })
  await assert.rejects(remove(pool, url, 0), { code: 'revocationsInvalid', message: /newer/ })
  await remove(pool, url, 1)
  await look(url)
})

test('removal: of an admin takes those with it that it let in; lists of strangers and members are refused', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const params = { poolId: pool.poolId }
  const [second, guest] = [new TestDevice('Second admin'), new TestDevice('Guest')]
  for (const device of [second, guest]) await device.register(url)
  second.certificates.set(
    pool.poolId,
    issueCertificate(pool.root, { deviceId: second.deviceId, role: 'admin' }, Date.now()),
  )
  const certificate = issueCertificate(
    { key: second.key, certificate: second.certificates.get(pool.poolId) as string },
    { deviceId: guest.deviceId, role: 'member' },
    Date.now(),
  )
  guest.certificates.set(pool.poolId, certificate)
  await second.client(url).call('publishCertificate', { params, body: { certificate } })
  await guest.client(url).call('listPeers', { params })
  const publish = (list: string): Promise<unknown> =>
    guest.client(url).call('publishRevocations', { params, body: { list } })
  const terms = { after: 4, removed: [pool.admin.deviceId] }
  await assert.rejects(publish(signRevocations(newKeyPair(), terms, Date.now())), { code: 'revocationsInvalid' })
  await assert.rejects(publish(signRevocations({ key: guest.key, certificate }, terms, Date.now())), {
    code: 'revocationsInvalid',
  })
  await assert.rejects(publish('AAAA'), { code: 'revocationsInvalid' })
  await remove(pool, url, 0, second.deviceId)
  await assert.rejects(guest.client(url).call('listPeers', { params }), { code: 'memberRemoved' })
})

test('removal: the costliest list that anybody can make holds nobody up', { timeout: 300_000 }, async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const stranger = new TestDevice('Stranger')
  await stranger.register(url)
  // a bignum of all the bytes that a list may have: CBOR tag 2 and a byte string
  const bignum = Buffer.alloc(Math.floor((limits.revocationBytes * 3) / 4), 0xff)
  bignum.writeUInt16BE(0xc25a, 0)
  bignum.writeUInt32BE(bignum.length - 6, 2)
  const sent: Promise<unknown>[] = []
  const before = process.cpuUsage()
  for (let count = 0; count < 5; count++) {
    sent.push(
      assert.rejects(
        stranger.client(url).call('publishRevocations', {
          params: { poolId: pool.poolId },
          body: { list: bignum.toString('base64url') },
        }),
        { code: 'revocationsInvalid' },
      ),
    )
  }
  assert.equal((await fetch(`${url}/health`)).status, 200)
  await Promise.all(sent)
  const { user, system } = process.cpuUsage(before)
  assert.ok(
    user + system < 2e6,
    `${(user + system) / 1000} ms of processor time, HTTP and signatures of both sides in it`,
  )
})

test('renewal: the request of a member, also of one that was away too long, reaches an admin, and the certificate the member', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const device = await pool.member('Member')
  const old = issueCertificate(
    pool.root,
    { deviceId: device.deviceId, role: 'member' },
    Date.now() - certificateLifetimeMs - 3600e3,
  )
  device.certificates.set(pool.poolId, old)
  const [admin, agent] = [await FakeAgent.connect(t, pool.admin, url), await FakeAgent.connect(t, device, url)]
  agent.send({ type: 'renew', certificate: old })
  assert.deepEqual(await admin.next('renewal-request'), {
    type: 'renewal-request',
    poolId: pool.poolId,
    certificate: old,
  })
  const renewed = issueCertificate(pool.root, { deviceId: device.deviceId, role: 'member' }, Date.now())
  await pool.admin
    .client(url)
    .call('publishCertificate', { params: { poolId: pool.poolId }, body: { certificate: renewed } })
  const { certificate } = await agent.next('certificate')
  assert.equal(verifyCertificate(certificate, pool.root.publicKey, Date.now()).deviceId, device.deviceId)
  // nobody renews for another device, for a stranger, or for one that was removed
  for (const [text, code] of [
    [pool.admin.certificates.get(pool.poolId) as string, 'certificateInvalid'],
    [issueCertificate(newKeyPair(), { deviceId: device.deviceId, role: 'member' }, Date.now()), 'notFound'],
  ] as const) {
    agent.send({ type: 'renew', certificate: text })
    assert.equal((await agent.next('error')).error.code, code)
  }
  await remove(pool, url, 0, device.deviceId)
  agent.send({ type: 'renew', certificate: renewed })
  assert.equal((await agent.next('error')).error.code, 'memberRemoved')
})

test('replay: a request that was seen is refused by the next process too', async (t) => {
  const first = await startPlane(t)
  const device = new TestDevice('A')
  await device.register(first.url)
  const signed = signFor(first.url, device.key, { method: 'GET', path: '/api/devices/self', body: '' }, Date.now())
  const send = async (url: string): Promise<number> =>
    (await fetch(`${url}/api/devices/self`, { headers: signed })).status
  assert.equal(await send(first.url), 200)
  assert.equal(await send(first.url), 401)
  await first.stop()
  const { url } = await startPlane(t, first.folder)
  assert.equal(await send(url), 401)
})
