/** A pool that its admins moved: the control plane tells the members, and serves it no more. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { controlPlaneFolder } from '../../shared/home.ts'
import { loadControlPlaneKey, newControlPlaneKey } from '../../shared/identity/control-plane-key.ts'
import { signPin } from '../../shared/identity/control-plane-pin.ts'
import { newKeyPair } from '../../shared/identity/keys.ts'
import { issueCertificate, type Signer } from '../../shared/identity/pool-certificate.ts'
import { signRevocations } from '../../shared/identity/revocation-list.ts'
import type { ControlPlaneId } from '../../shared/ids.ts'
import {
  createKey,
  createPool,
  FakeAgent,
  type Plane,
  startPlane,
  submission,
  TestDevice,
  type TestPool,
} from './plane.ts'
import { activeRing } from './steps.ts'

const elsewhere = newControlPlaneKey().id

const idOf = ({ folder }: Plane): ControlPlaneId => {
  const key = loadControlPlaneKey(controlPlaneFolder(folder).key)
  assert.ok(key)
  return key.id
}

const publish = ({ poolId }: TestPool, sender: TestDevice, url: string, pin: string): Promise<unknown> =>
  sender.client(url).call('publishPin', { params: { poolId }, body: { pin } })

const secondAdmin = async (pool: TestPool, url: string): Promise<{ device: TestDevice; signer: Signer }> => {
  const device = new TestDevice('Second admin')
  await device.register(url)
  const certificate = issueCertificate(pool.root, { deviceId: device.deviceId, role: 'admin' }, Date.now())
  device.certificates.set(pool.poolId, certificate)
  return { device, signer: { key: device.key, certificate } }
}

test('pin: members are told; a pool that was moved is refused by name, to devices and apps, after a restart too', async (t) => {
  const plane = await startPlane(t)
  const { url } = plane
  const pool = await createPool(url)
  const params = { poolId: pool.poolId }
  const { agents } = await activeRing(t, pool, url, 2)
  const { app } = await createKey(pool.admin, pool, url)
  const here = signPin(pool.root, { after: 0, controlPlaneId: idOf(plane) }, Date.now())
  await publish(pool, pool.admin, url, here)
  for (const agent of agents) assert.equal((await agent.next('control-plane-pin')).pin, here)
  await pool.admin.client(url).call('listPeers', { params })

  // whoever brings it: the signature decides
  const stranger = new TestDevice('Stranger')
  await stranger.register(url)
  const there = signPin(pool.root, { after: 1, controlPlaneId: elsewhere }, Date.now())
  await publish(pool, stranger, url, there)
  for (const agent of agents) assert.equal((await agent.next('control-plane-pin')).pin, there)
  const moved = {
    code: 'poolMoved',
    message: new RegExp(
      `served by the control plane with the key ${elsewhere.slice(0, 8)}, ` +
        `and this is one with the key ${idOf(plane).slice(0, 8)}`,
    ),
  }
  const asDevice = (at: string): Promise<unknown> => agents[1].device.client(at).call('listRings', { params })
  await assert.rejects(asDevice(url), moved)
  await assert.rejects(app.call('submitJob', { params, body: submission('app') }), moved)
  await assert.rejects(
    stranger.client(url).call('requestJoin', { params, body: { rootPublicKey: pool.rootPublicKey } }),
    moved,
  )

  await plane.stop()
  const again = await startPlane(t, plane.folder)
  await assert.rejects(asDevice(again.url), moved)
  const late = await FakeAgent.connect(t, agents[1].device, again.url)
  assert.equal((await late.next('control-plane-pin')).pin, there, 'one that was away learns of it')
  assert.equal((await stranger.client(again.url).call('getPin', { params })).pin, there)

  // and back
  await publish(pool, pool.admin, again.url, signPin(pool.root, { after: 2, controlPlaneId: idOf(plane) }, Date.now()))
  await asDevice(again.url)
})

test('pin: forged, older, of another pool, of a member or of a removed admin: refused, and nothing changes', async (t) => {
  const plane = await startPlane(t)
  const { url } = plane
  const [pool, other] = [await createPool(url), await createPool(url)]
  const params = { poolId: pool.poolId }
  const { device, signer } = await secondAdmin(pool, url)
  const member = await pool.member('Member')
  const at = (signedBy: Signer, after: number, id = elsewhere): string =>
    signPin(signedBy, { after, controlPlaneId: id }, Date.now())
  await publish(pool, pool.admin, url, at(pool.root, 4, idOf(plane)))
  const held = (await device.client(url).call('getPin', { params })).pin
  const ofMember = at({ key: member.key, certificate: member.certificates.get(pool.poolId) ?? '' }, 9)
  const old = at(signer, 3)
  for (const [what, pin] of [
    ['forged', at(newKeyPair(), 9)],
    ['of another pool', at(other.root, 9)],
    ['of a member', ofMember],
    ['older', old],
    ['of the same number, by an admin', at(signer, 4)],
    ['no pin', 'AAAA'],
  ]) {
    await assert.rejects(publish(pool, device, url, pin), { code: 'pinInvalid' }, what)
  }
  const revenge = at(signer, 9)
  const list = signRevocations(pool.root, { after: 0, removed: [device.deviceId] }, Date.now())
  await pool.admin.client(url).call('publishRevocations', { params, body: { list } })
  await assert.rejects(publish(pool, device, url, revenge), { code: 'pinInvalid' })
  assert.equal((await device.client(url).call('getPin', { params })).pin, held)
  await member.client(url).call('listPeers', { params })
})

test('pin: what an admin did before it was removed holds for nobody, and whoever was not removed has the next word', async (t) => {
  const plane = await startPlane(t)
  const { url } = plane
  const pool = await createPool(url)
  const params = { poolId: pool.poolId }
  const { device, signer } = await secondAdmin(pool, url)
  const member = await pool.member('Member')
  await publish(pool, device, url, signPin(signer, { after: 2 ** 32 - 2, controlPlaneId: elsewhere }, Date.now()))
  await assert.rejects(member.client(url).call('listPeers', { params }), { code: 'poolMoved' })
  // the pool is not served here, but its admins are heard
  const list = signRevocations(pool.root, { after: 0, removed: [device.deviceId] }, Date.now())
  await pool.admin.client(url).call('publishRevocations', { params, body: { list } })
  await member.client(url).call('listPeers', { params })
  assert.equal((await member.client(url).call('getPin', { params })).pin, undefined)
  await publish(pool, pool.admin, url, signPin(pool.root, { after: 0, controlPlaneId: idOf(plane) }, Date.now()))
  await member.client(url).call('listPeers', { params })
})
