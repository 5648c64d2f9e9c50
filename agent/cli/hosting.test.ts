import assert from 'node:assert/strict'
import { networkInterfaces } from 'node:os'
import { describe, it, type TestContext } from 'node:test'
import { type Home, openHome, writeState } from '../../shared/home.ts'
import { newControlPlaneKey } from '../../shared/identity/control-plane-key.ts'
import { decodeInvite } from '../../shared/identity/invite.ts'
import { temporaryFolder } from '../../test/support/homes.ts'
import { defaultControlPlaneUrl, type LocalDevice, saveDevice } from '../device/device.ts'
import { createPool, savePool } from '../device/pools.ts'
import { askLine, checkHosting, groupInvites, joinLines } from './hosting.ts'

interface Case {
  readonly url: string
  /** The pool of this device: made here, or joined. */
  readonly pool?: 'made' | 'joined'
  /** A control plane ran from this home. */
  readonly hosted?: boolean
}

const set = (t: TestContext, { url, pool, hosted }: Case): { home: Home; device: LocalDevice } => {
  const home = openHome(temporaryFolder(t))
  const device = saveDevice(home, { networkId: 'home', name: 'Desktop', controlPlaneUrl: url })
  if (pool === 'made') createPool(home, device.deviceId, 'home', Date.now())
  if (pool === 'joined') {
    const elsewhere = openHome(temporaryFolder(t))
    const { rootKey: _, ...joined } = createPool(elsewhere, device.deviceId, 'home', Date.now())
    savePool(home, joined)
  }
  if (hosted) writeState(home.controlPlane.database, '')
  return { home, device }
}

describe('hosting a group', () => {
  for (const one of [
    { url: defaultControlPlaneUrl }, // told of none
    { url: defaultControlPlaneUrl, pool: 'made' },
    { url: 'http://127.0.0.1:9000', pool: 'made', hosted: true },
    // runs the control plane of a pool that another device made
    { url: 'http://localhost:9000', pool: 'joined', hosted: true },
  ] satisfies Case[]) {
    it(`may: ${JSON.stringify(one)}`, (t) => {
      const { home, device } = set(t, one)
      assert.doesNotThrow(() => checkHosting(home, device))
    })
  }

  for (const one of [
    { url: 'http://192.0.2.20:8080', pool: 'joined' },
    { url: 'http://192.0.2.20:8080', pool: 'made' },
    { url: 'http://192.0.2.20:8080' },
    { url: 'http://192.0.2.20:8080', pool: 'made', hosted: true },
    { url: defaultControlPlaneUrl, pool: 'joined' }, // two homes on one machine
    { url: 'http://127.0.0.1:9000', pool: 'joined' },
    { url: 'http://127.0.0.1:9000' },
  ] satisfies Case[]) {
    it(`would lose its control plane: ${JSON.stringify(one)}`, (t) => {
      const { home, device } = set(t, one)
      const pools = one.pool === undefined ? '' : ' for pool home'
      assert.throws(() => checkHosting(home, device), {
        code: 'hostedElsewhere',
        message: `this device uses the control plane at ${one.url}${pools}; mesh up would start another one here`,
      })
    })
  }

  it('may: its control plane is at an address of this machine', (t) => {
    for (const { address, family } of Object.values(networkInterfaces()).flatMap((list) => list ?? [])) {
      const host = family === 'IPv6' ? `[${address}]` : address
      if (!URL.canParse(`http://${host}`)) continue // some have a zone, which no address of a control plane has
      const { home, device } = set(t, { url: `http://${host}:8080`, pool: 'made', hosted: true })
      assert.doesNotThrow(() => checkHosting(home, device), address)
    }
  })

  it('invites are for pools that were made here, hold a day, and stay the same', (t) => {
    const now = Date.UTC(2027, 0, 1) + 500
    const { home } = set(t, { url: defaultControlPlaneUrl, pool: 'made' })
    const where = { urls: ['https://192.0.2.20:8080'], controlPlaneKey: newControlPlaneKey().id }
    const [invite, ...more] = groupInvites(home, where, now)
    assert.deepEqual([more, invite.pool, invite.usesLeft, invite.notAfter], [[], 'home', 10, Date.UTC(2027, 0, 2)])
    const { urls, controlPlaneKey } = decodeInvite(invite.line)
    assert.deepEqual({ urls, controlPlaneKey }, where)
    assert.deepEqual(groupInvites(home, where, now + 1000), [invite])
    assert.deepEqual(groupInvites(set(t, { url: defaultControlPlaneUrl, pool: 'joined' }).home, { urls: [] }, now), [])
  })

  it('what others type names the model unless it is the usual one', () => {
    assert.deepEqual(joinLines('mesh-invite:x', 'tiny-story'), [
      'mesh join mesh-invite:x -d',
      'mesh inference "Once upon a time"',
    ])
    assert.equal(askLine('llama'), 'mesh inference --model-id llama "Once upon a time"')
    assert.equal(askLine(undefined), askLine('tiny-story'))
  })
})
