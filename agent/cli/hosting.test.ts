import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { type Home, openHome, writeState } from '../../shared/home.ts'
import { temporaryFolder } from '../../test/support/homes.ts'
import { defaultControlPlaneUrl, type LocalDevice, saveDevice } from '../device/device.ts'
import { createPool, savePool } from '../device/pools.ts'
import { askLine, checkHosting, joinLines } from './hosting.ts'

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
    { url: 'http://localhost:9000', pool: 'joined', hosted: true }, // runs the control plane of a pool that another device made
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
      assert.throws(() => checkHosting(home, device), { code: 'hostedElsewhere', message: `this device uses the control plane at ${one.url}${pools}; mesh up would start another one here` })
    })
  }

  it('what others type names the model unless it is the usual one', () => {
    assert.deepEqual(joinLines('mesh-invite:x', 'tiny-story'), ['mesh join mesh-invite:x -d', 'mesh inference "Once upon a time"'])
    assert.equal(askLine('llama'), 'mesh inference --model-id llama "Once upon a time"')
    assert.equal(askLine(undefined), askLine('tiny-story'))
  })
})
