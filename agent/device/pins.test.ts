import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { test, type TestContext } from 'node:test'
import { type Home, openHome } from '../../shared/home.ts'
import { newControlPlaneKey } from '../../shared/identity/control-plane-key.ts'
import { signPin } from '../../shared/identity/control-plane-pin.ts'
import { deviceIdOf } from '../../shared/identity/device-key.ts'
import { newKeyPair } from '../../shared/identity/keys.ts'
import { issueCertificate, type Signer } from '../../shared/identity/pool-certificate.ts'
import { signRevocations } from '../../shared/identity/revocation-list.ts'
import { temporaryFolder } from '../../test/support/homes.ts'
import { Pins } from './pins.ts'
import { createPool, type LocalPool } from './pools.ts'
import { Revocations } from './revocations.ts'

const [first, second] = [newControlPlaneKey().id, newControlPlaneKey().id]

interface Place {
  readonly home: Home
  readonly pool: LocalPool
  readonly root: Signer
  readonly admin: Signer & { readonly certificate: string }
  readonly adminId: string
  readonly revocations: Revocations
  readonly pins: Pins
}

const placeWithPool = (t: TestContext): Place => {
  const home = openHome(temporaryFolder(t))
  const pool = createPool(home, deviceIdOf(newKeyPair()), 'home', Date.now())
  assert.ok(pool.rootKey)
  const key = newKeyPair()
  const certificate = issueCertificate(pool.rootKey, { deviceId: deviceIdOf(key), role: 'admin' }, Date.now())
  const revocations = new Revocations(home, Date.now)
  return {
    home,
    pool,
    root: pool.rootKey,
    admin: { key, certificate },
    adminId: deviceIdOf(key),
    revocations,
    pins: new Pins(home, revocations, Date.now),
  }
}

const sign = (signer: Signer, after: number, controlPlaneId = first): string =>
  signPin(signer, { after, controlPlaneId }, Date.now())

test('pins: the newest is kept over a restart, and an older one, a forged one and one of another pool change nothing', (t) => {
  const { home, pool, root, admin, revocations, pins } = placeWithPool(t)
  const { poolId } = pool
  assert.equal(pins.pinOf(poolId), undefined)
  assert.equal(pins.accept(poolId, sign(admin, 0)), true)
  const moved = sign(root, 1, second)
  assert.deepEqual(
    [pins.accept(poolId, moved), pins.accept(poolId, moved), pins.accept(poolId, sign(admin, 0))],
    [true, false, false],
  )
  assert.throws(() => pins.accept(poolId, sign(newKeyPair(), 8)), { code: 'pinInvalid' })
  assert.throws(() => pins.accept(poolId, 'AAAA'), { code: 'pinInvalid' })
  assert.equal(pins.accept('f'.repeat(64), moved), false, 'of a pool that this device is not in')
  assert.equal(new Pins(home, revocations, Date.now).pinOf(poolId)?.controlPlaneId, second)
})

test('pins: what another process wrote is seen; a file that is gone undoes no move, a damaged one is named', (t) => {
  const { home, pool, root, revocations, pins } = placeWithPool(t)
  const { poolId } = pool
  pins.accept(poolId, sign(root, 0))
  assert.equal(new Pins(home, revocations, Date.now).accept(poolId, sign(root, 1, second)), true)
  assert.equal(pins.pinOf(poolId)?.controlPlaneId, second)
  const file = home.pool(poolId).controlPlanePin
  rmSync(file)
  assert.equal(pins.pinOf(poolId)?.number, 2)
  writeFileSync(file, 'nonsense')
  assert.throws(() => pins.pinOf(poolId), { code: 'pinInvalid' })
})

test('pins: one of an admin that was removed since holds until another is signed, and does not come back', (t) => {
  const { pool, root, admin, adminId, revocations, pins } = placeWithPool(t)
  const { poolId } = pool
  const last = sign(admin, 2 ** 32 - 2, second)
  pins.accept(poolId, last)
  revocations.accept(poolId, signRevocations(root, { after: 0, removed: [adminId] }, Date.now()))
  assert.equal(pins.pinOf(poolId)?.text, last)
  assert.equal(pins.accept(poolId, sign(root, 0)), true)
  assert.equal(pins.accept(poolId, last), false)
  assert.equal(pins.pinOf(poolId)?.controlPlaneId, first)
})
