/** The control plane of a pool as a home on disk has it, with the one watch of its pools. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { openHome } from '../../shared/home.ts'
import { newControlPlaneKey } from '../../shared/identity/control-plane-key.ts'
import { signPin } from '../../shared/identity/control-plane-pin.ts'
import { deviceIdOf } from '../../shared/identity/device-key.ts'
import { newKeyPair, toHex } from '../../shared/identity/keys.ts'
import { issueCertificate, poolIdOf } from '../../shared/identity/pool-certificate.ts'
import { signRevocations } from '../../shared/identity/revocation-list.ts'
import { silentLogger } from '../../shared/log.ts'
import { afterwards, temporaryFolder } from '../../test/support/homes.ts'
import { Pins } from '../device/pins.ts'
import { savePool } from '../device/pools.ts'
import { Revocations } from '../device/revocations.ts'
import { Gate } from '../network/gate.ts'
import { createNode } from '../network/node.ts'
import { RenewalExchange } from '../network/renewal-exchange.ts'
import { RevocationSpread } from '../network/revocation-spread.ts'
import { Membership, poolDirectory } from './membership.ts'
import { PoolPins } from './pool-pins.ts'
import { PoolWatch } from './pool-watch.ts'

const root = newKeyPair()
const poolId = poolIdOf(root.publicKey)

/** The parts of an agent of an admin that look at its pools. */
const createAdmin = async (t: TestContext) => {
  const [home, key, logger, now] = [openHome(temporaryFolder(t)), newKeyPair(), silentLogger(), Date.now]
  const deviceId = deviceIdOf(key)
  const certificate = issueCertificate(root, { deviceId, role: 'admin' }, now())
  savePool(home, { poolId, name: 'club', rootPublicKey: toHex(root.publicKey), role: 'admin', certificate })
  const node = await createNode({ key, listen: ['/ip4/127.0.0.1/tcp/0'], announce: [], relays: [], logger })
  const revocations = new Revocations(home, now)
  const pins = new Pins(home, revocations, now)
  const gate = new Gate(node, poolDirectory(home, revocations), { now, logger })
  const spread = new RevocationSpread({ node, gate, logger, textOf: () => undefined, onList: () => undefined })
  const renewals = new RenewalExchange({ node, gate, logger, now, renew: () => assert.fail('nobody asks') })
  const intervals = t.mock.method(globalThis, 'setInterval')
  const watch = new PoolWatch({ home, logger })
  const changed: string[] = []
  const membership = new Membership({
    home,
    watch,
    deviceId,
    revocations,
    gate,
    spread,
    renewals,
    now,
    logger,
    send: () => undefined,
    onRenewed: () => undefined,
  })
  const poolPins = new PoolPins({
    home,
    watch,
    key,
    pins,
    revocations,
    now,
    logger,
    client: () => undefined,
    controlPlaneId: () => undefined,
    tellMembers: () => undefined,
    onChange: (id) => void changed.push(id),
  })
  assert.equal(intervals.mock.callCount(), 1, 'one timer looks at the pools')
  afterwards(t, async () => {
    watch.stop()
    gate.stop()
    await node.stop()
  })
  return { home, pins, revocations, watch, membership, poolPins, changed, deviceId }
}

test('pins: one look at the pools serves memberships and pins, and what the one finds the other knows', async (t) => {
  const { home, pins, watch, changed, deviceId } = await createAdmin(t)
  watch.look()
  assert.deepEqual(changed, [])
  // a command of this device, in a process of its own, writes what an admin says
  const other = newKeyPair()
  const named = issueCertificate(root, { deviceId: deviceIdOf(other), role: 'admin' }, Date.now())
  const written = new Pins(home, new Revocations(home, Date.now), Date.now)
  const first = newControlPlaneKey().id
  written.accept(poolId, signPin({ key: other, certificate: named }, { after: 0, controlPlaneId: first }, Date.now()))
  watch.look()
  assert.deepEqual([changed, pins.pinOf(poolId)?.controlPlaneId], [[poolId], first])
  watch.look()
  assert.deepEqual(changed, [poolId], 'told once')
  // that admin is removed: the list is taken and the word given again at the same look
  const list = signRevocations(root, { after: 0, removed: [deviceIdOf(other)] }, Date.now())
  new Revocations(home, Date.now).accept(poolId, list)
  watch.look()
  assert.deepEqual(changed, [poolId, poolId])
  const anew = pins.pinOf(poolId)
  assert.deepEqual([anew?.number, anew?.controlPlaneId, anew?.signedBy], [2, first, deviceId])
})
