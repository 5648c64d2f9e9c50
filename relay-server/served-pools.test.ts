import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { deviceIdOf } from '../shared/identity/device-key.ts'
import { type KeyPair, newKeyPair, toHex } from '../shared/identity/keys.ts'
import { issueCertificate, poolIdOf } from '../shared/identity/pool-certificate.ts'
import { signRevocations } from '../shared/identity/revocation-list.ts'
import type { RelayProof } from '../shared/wire/envelope.ts'
import { temporaryFolder } from '../test/support/homes.ts'
import { ServedPools } from './served-pools.ts'

const now = 1_800_000_000_000
const [root, otherRoot, device, admin] = Array.from({ length: 4 }, newKeyPair)
const poolId = poolIdOf(root.publicKey)
const proof = (key: KeyPair, change: Partial<RelayProof> = {}): RelayProof => ({
  poolId,
  rootPublicKey: toHex(root.publicKey),
  certificate: issueCertificate(root, { deviceId: deviceIdOf(key), role: 'member' }, now),
  revocations: 0,
  ...change,
})

test('served pools: the id alone is enough to check a member, and nothing but the right key fits it', (t) => {
  const pools = new ServedPools({ pools: [poolId.toUpperCase()], folder: temporaryFolder(t), now: () => now })
  assert.equal(pools.check(deviceIdOf(device), proof(device)).deviceId, deviceIdOf(device))
  assert.throws(() => pools.check(deviceIdOf(admin), proof(device)), { code: 'certificateInvalid' })
  assert.throws(() => pools.check(undefined, proof(device)), { code: 'certificateInvalid' })
  assert.throws(() => pools.check(deviceIdOf(device), proof(device, { rootPublicKey: toHex(otherRoot.publicKey) })), {
    code: 'poolKeyMismatch',
  })
  assert.throws(() => pools.check(deviceIdOf(device), proof(device, { poolId: poolIdOf(otherRoot.publicKey) })), {
    code: 'relayPoolNotServed',
  })
  assert.throws(() => new ServedPools({ pools: ['home'], folder: temporaryFolder(t), now: () => now }), {
    code: 'usage',
  })
})

test('served pools: the newest list counts, from the disk too; an older or foreign one changes nothing', (t) => {
  const folder = temporaryFolder(t)
  const pools = new ServedPools({ pools: [poolId], folder, now: () => now })
  const first = signRevocations(root, { after: 0, removed: [deviceIdOf(admin)] }, now)
  const second = signRevocations(root, { after: 1, removed: [deviceIdOf(admin), deviceIdOf(device)] }, now)
  assert.equal(pools.accept(poolId, first), false, 'nobody proved membership yet, so its key is not known')
  const byAdmin = issueCertificate(
    { key: admin, certificate: issueCertificate(root, { deviceId: deviceIdOf(admin), role: 'admin' }, now) },
    { deviceId: deviceIdOf(device), role: 'member' },
    now,
  )
  const certificate = pools.check(deviceIdOf(device), proof(device, { certificate: byAdmin }))
  assert.equal(pools.accept(poolId, first), true)
  assert.ok(pools.isRemoved(certificate), 'the admin that signed it was removed')
  assert.throws(() => pools.check(deviceIdOf(device), proof(device, { certificate: byAdmin })), {
    code: 'memberRemoved',
  })
  assert.equal(pools.check(deviceIdOf(device), proof(device)).deviceId, deviceIdOf(device))
  assert.equal(pools.accept(poolId, second), true)
  assert.equal(pools.accept(poolId, first), false)
  assert.throws(() => pools.accept(poolId, signRevocations(otherRoot, { after: 5, removed: [] }, now)), {
    code: 'revocationsInvalid',
  })

  const again = new ServedPools({ pools: [poolId], folder, now: () => now })
  assert.equal(again.listNumber(poolId), 2)
  assert.throws(() => again.check(deviceIdOf(device), proof(device)), { code: 'memberRemoved' })
  writeFileSync(join(folder, `${poolId}.json`), '{}')
  assert.throws(() => new ServedPools({ pools: [poolId], folder, now: () => now }), { code: 'stateUnreadable' })
})
