import assert from 'node:assert/strict'
import { test } from 'node:test'
import { newKeyPair, toHex } from '../../shared/identity/keys.ts'
import { issueCertificate, verifyCertificate } from '../../shared/identity/pool-certificate.ts'
import { createPool, FakeAgent, startPlane, TestDevice } from './plane.ts'

test('pools: only the holder of the root key can publish a pool', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const thief = new TestDevice('Thief')
  await thief.register(url)
  const publish = (change: object): Promise<unknown> =>
    thief.client(url).call('createPool', {
      body: {
        poolId: pool.poolId,
        networkId: 'home',
        name: 'mine',
        rootPublicKey: pool.rootPublicKey,
        certificate: pool.admin.certificates.get(pool.poolId) as string,
        ...change,
      },
    })
  await assert.rejects(publish({}), { code: 'certificateInvalid' })
  await assert.rejects(publish({ rootPublicKey: toHex(newKeyPair().publicKey) }), { code: 'poolKeyMismatch' })
  await assert.rejects(
    publish({ certificate: issueCertificate(pool.root, { deviceId: thief.deviceId, role: 'member' }, Date.now()) }),
    { code: 'notAdmin' },
  )
})

test('pools: a request reaches the admin, now or when it connects; the certificate reaches the device', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const device = new TestDevice('New')
  await device.register(url)
  const params = { poolId: pool.poolId }
  await assert.rejects(device.client(url).call('getJoin', { params }), { code: 'notFound' })
  await assert.rejects(
    device.client(url).call('requestJoin', { params, body: { rootPublicKey: toHex(newKeyPair().publicKey) } }),
    { code: 'poolKeyMismatch' },
  )
  const request = await device.client(url).call('requestJoin', { params, body: { rootPublicKey: pool.rootPublicKey } })
  assert.equal(request.status, 'pending')

  const admin = await FakeAgent.connect(t, pool.admin, url)
  assert.equal((await admin.next('join-request')).request.deviceId, device.deviceId)
  await device.client(url).call('requestJoin', { params, body: { rootPublicKey: pool.rootPublicKey } })
  assert.equal((await admin.next('join-request')).request.name, 'New')

  const stranger = issueCertificate(newKeyPair(), { deviceId: device.deviceId, role: 'member' }, Date.now())
  await assert.rejects(pool.admin.client(url).call('publishCertificate', { params, body: { certificate: stranger } }), {
    code: 'certificateInvalid',
  })
  const certificate = issueCertificate(pool.root, { deviceId: device.deviceId, role: 'member' }, Date.now())
  await pool.admin.client(url).call('publishCertificate', { params, body: { certificate } })
  const approved = await device.client(url).call('getJoin', { params })
  assert.equal(approved.status, 'approved')
  assert.equal(
    verifyCertificate(approved.certificate as string, pool.root.publicKey, Date.now()).deviceId,
    device.deviceId,
  )
  assert.equal(
    (await device.client(url).call('requestJoin', { params, body: { rootPublicKey: pool.rootPublicKey } })).status,
    'approved',
  )
})

test('pools: peers show who is online, pools how many', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const member = await pool.member('Member')
  const agent = await FakeAgent.connect(t, member, url)
  const peers = await member.client(url).call('listPeers', { params: { poolId: pool.poolId } })
  assert.deepEqual(
    peers.map(({ name, role, online, peerId }) => [name, role, online, peerId]),
    [
      ['Admin', 'admin', false, undefined],
      ['Member', 'member', true, 'peer-Member'],
    ],
  )
  assert.deepEqual(
    (await member.client(url).call('listPools', {})).map(({ members, online }) => [members, online]),
    [[2, 1]],
  )
  agent.kill()
  await agent.closed
})

test('sockets: a newer one of the same device replaces the older; a silent one loses its lease', async (t) => {
  const { url } = await startPlane(t, undefined, { heartbeatMs: 50, leaseMs: 300, ringGraceMs: 50 })
  const pool = await createPool(url)
  const first = await FakeAgent.connect(t, pool.admin, url)
  const second = await FakeAgent.connect(t, pool.admin, url)
  await first.closed
  second.fallSilent()
  await second.closed
  const [peer] = await pool.admin.client(url).call('listPeers', { params: { poolId: pool.poolId } })
  assert.equal(peer.online, false)
})

test('sockets: malformed messages are answered, and a few of them end the socket', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const agent = await FakeAgent.connect(t, pool.admin, url)
  for (const text of ['{', '{"type":"ring-state"}', '{"type":"dance"}', '[]']) agent.sendText(text)
  assert.equal((await agent.next('error')).error.code, 'requestInvalid')
  await agent.closed
})
