/** What devices that nobody knows can cost over their sockets and by their number. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test, type TestContext } from 'node:test'
import { join } from 'node:path'
import WebSocket from 'ws'
import { newKeyPair } from '../../shared/identity/keys.ts'
import { issueCertificate } from '../../shared/identity/pool-certificate.ts'
import { limits } from '../../shared/limits.ts'
import { defaultAdmission } from '../service/admission.ts'
import { openDatabase } from '../store/database.ts'
import { DeviceStore, type StoredDevice } from '../store/device-store.ts'
import { createPool, eventually, FakeAgent, quickSettings, startPlane, TestDevice, type TestPool } from './plane.ts'

/** Sockets of a device that say whatever a test wants. */
const openSocket = async (t: TestContext, device: TestDevice, url: string): Promise<WebSocket> => {
  const { url: address, headers } = await device.client(url).socket()
  const socket = new WebSocket(address, { headers })
  t.after(() => socket.terminate())
  await once(socket, 'open')
  return socket
}

const helloWith = (certificates: string[]): string =>
  JSON.stringify({ type: 'hello', version: '0', peerId: 'p', addresses: [], certificates })

/** As dear to check as can be: of that pool, for this device, signed by what says that it is an admin. */
const forgeries = ({ admin, poolId }: TestPool, device: TestDevice, count: number): string[] => {
  const certificate = String(admin.certificates.get(poolId))
  return Array.from({ length: count }, () =>
    issueCertificate({ key: newKeyPair(), certificate }, { deviceId: device.deviceId, role: 'member' }, Date.now()),
  )
}

/** Milliseconds that the longest of many requests took while `act` went on. */
const longestHealth = async (url: string, act: () => Promise<unknown>): Promise<number> => {
  const taken: number[] = []
  const over = new AbortController()
  const acting = act().finally(() => over.abort())
  do {
    const startedAt = performance.now()
    assert.equal((await fetch(`${url}/health`)).status, 200)
    taken.push(performance.now() - startedAt)
  } while (!over.signal.aborted)
  await acting
  return Math.max(...taken)
}

test('strangers: a hello full of forged certificates is looked at as far as three, and ends the connection', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const device = new TestDevice('Stranger')
  await device.register(url)
  const socket = await openSocket(t, device, url)
  const text = helloWith(forgeries(pool, device, 64))
  const closed = once(socket, 'close')
  const before = process.cpuUsage()
  const longest = await longestHealth(url, async () => {
    for (let count = 0; count < 10; count++) socket.send(text)
    await closed
  })
  const { user, system } = process.cpuUsage(before)
  t.diagnostic(
    `ten hellos of ${(text.length / 1000).toFixed(0)} kB: ${((user + system) / 1000).toFixed(0)} ms of ` +
      `processor, this test included; longest /health ${longest.toFixed(0)} ms`,
  )
  assert.ok((user + system) / 1000 < 500, `${(user + system) / 1000} ms of processor`)
  const honest = await FakeAgent.connect(t, pool.admin, url)
  assert.deepEqual(await honest.unread(), [])
})

test('strangers: what costs a little, said without end, is refused and ends the connection; members go on', async (t) => {
  const admission = { ...defaultAdmission, address: { most: 100, perSecond: 1 } }
  const { url } = await startPlane(t, undefined, { ...quickSettings, admission })
  const pool = await createPool(url)
  const member = await FakeAgent.connect(t, await pool.member('Member'), url)
  const device = new TestDevice('Stranger')
  await device.register(url)
  const socket = await openSocket(t, device, url)
  const heard: string[] = []
  socket.on('message', (data: Buffer) => heard.push(data.toString()))
  const closed = once(socket, 'close')
  socket.send(helloWith([]))
  for (let count = 0; count < 200; count++) socket.send(JSON.stringify({ type: 'heartbeat', freeMemoryBytes: 1 }))
  await closed
  assert.match(String(heard.at(-1)), /tooManyRequests/)
  await assert.rejects(device.register(url), { code: 'tooManyRequests' })
  await pool.admin.register(url) // never met as a member since the start, but known to be one
  for (let count = 0; count < 200; count++) member.send({ type: 'heartbeat', freeMemoryBytes: 1 })
  assert.deepEqual(await member.unread(), [])
  assert.equal((await member.device.client(url).call('getPool', { params: { poolId: pool.poolId } })).online, 1)
})

test('strangers: a message that is larger than any hello is not parsed', async (t) => {
  const { url } = await startPlane(t)
  const device = new TestDevice('Stranger')
  await device.register(url)
  const socket = await openSocket(t, device, url)
  socket.send(' '.repeat(limits.helloBytes + 1))
  const [code] = (await once(socket, 'close')) as [number]
  assert.equal(code, 1009) // too big: not collected either
})

test('strangers: one bad certificate in a hello costs nothing more when it is shown again', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const device = await pool.member('Member')
  device.certificates.set('forged', forgeries(pool, device, 1)[0])
  const agent = await FakeAgent.connect(t, device, url)
  for (let count = 0; count < 10; count++) agent.sendText(helloWith([...device.certificates.values()]))
  assert.deepEqual(await agent.unread(), [])
  assert.equal((await device.client(url).call('getDevice', {})).online, true)
})

test('strangers: an address registers so many new devices, then waits; known ones and members come and go', async (t) => {
  let aheadMs = 0
  const admission = { ...defaultAdmission, newcomers: { most: 10, perSecond: 0.1 } }
  const { url } = await startPlane(t, undefined, { ...quickSettings, admission }, () => Date.now() + aheadMs)
  const pool = await createPool(url)
  const devices = Array.from({ length: 10 }, (_, index) => new TestDevice(`Stranger ${index}`))
  for (const device of devices.slice(0, 9)) await device.register(url)
  await assert.rejects(devices[9].register(url), { code: 'tooManyRequests', message: /new devices at this address/ })
  await devices[0].register(url)
  await pool.admin.register(url)
  aheadMs = 11_000
  await devices[9].register(url)
})

test('strangers: devices in no pool are kept as long as there is room, and never one of a pool or one that asks to join', async (t) => {
  const plane = await startPlane(t)
  const { url } = plane
  const pool = await createPool(url)
  const asking = new TestDevice('Asking')
  await asking.register(url)
  await asking
    .client(url)
    .call('requestJoin', { params: { poolId: pool.poolId }, body: { rootPublicKey: pool.rootPublicKey } })
  const first = new TestDevice('First')
  await first.register(url)
  await plane.stop()
  const database = openDatabase(join(plane.folder, 'mesh.sqlite'))
  const devices = new DeviceStore(database.store)
  const { networkId, name, capabilities } = devices.find(first.deviceId) as StoredDevice
  for (let count = 2; count < limits.strangers; count++)
    devices.register(String(count).padStart(64, '0'), { networkId, name, capabilities }, Date.now() + count)
  database.close()
  const again = await startPlane(t, plane.folder)
  await new TestDevice('Newcomer').register(again.url)
  await assert.rejects(first.client(again.url).call('getDevice', {}), { code: 'deviceUnknown' })
  assert.equal((await asking.client(again.url).call('getDevice', {})).name, 'Asking')
  assert.equal((await pool.admin.client(again.url).call('listPeers', { params: { poolId: pool.poolId } })).length, 1)
  await first.register(again.url)
  await eventually(
    'the list of requests is whole',
    async () =>
      (await pool.admin.client(again.url).call('listJoins', { params: { poolId: pool.poolId } })).length === 1,
  )
})
