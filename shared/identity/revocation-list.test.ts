import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeCbor } from '../wire/envelope.ts'
import { limits } from '../limits.ts'
import { deviceIdOf } from './device-key.ts'
import { type KeyPair, newKeyPair } from './keys.ts'
import { issueCertificate, poolIdOf, type Signer } from './pool-certificate.ts'
import { readRevocations, removalsOf, replaces, type RevocationList, signRevocations } from './revocation-list.ts'
import { encodeStatement } from './signed-statement.ts'

const root = newKeyPair()
const now = Date.UTC(2026, 0, 1)
const [lost, other] = [newKeyPair(), newKeyPair()].map(deviceIdOf)
const adminOf = (signer: KeyPair, role: 'admin' | 'member' = 'admin', at = now - 1000): Signer & { key: KeyPair } => {
  const key = newKeyPair()
  return { key, certificate: issueCertificate(signer, { deviceId: deviceIdOf(key), role }, at) }
}
const admin = adminOf(root)
const adminId = deviceIdOf(admin.key)
const list = (signer: Signer, after: number, ...removed: string[]): RevocationList =>
  readRevocations(signRevocations(signer, { after, removed }, now), root.publicKey, now)

test('revocations: a list tells pool, number and devices, once each', () => {
  const { poolId, number, removed, signedBy } = list(root, 6, lost, other, lost)
  assert.deepEqual(
    [poolId, number, [...removed], signedBy],
    [poolIdOf(root.publicKey), 7, [lost, other].toSorted(), undefined],
  )
  assert.equal(list(admin, 0, lost).signedBy, adminId)
})

test('revocations: a list holds longer than the certificate of the admin that signed it', () => {
  const text = signRevocations(admin, { after: 0, removed: [lost] }, now)
  assert.ok(readRevocations(text, root.publicKey, now + 365 * 86400e3).removed.has(lost))
})

const body = (change: Readonly<Record<number, unknown>>): string =>
  Buffer.from(
    encodeStatement(
      'meshnet-revocations-v1',
      encodeCbor(
        Object.values({
          ...[1, Buffer.from(poolIdOf(root.publicKey), 'hex'), 1, now / 1000, [Buffer.from(lost, 'hex')]],
          ...change,
        }),
      ),
      root,
    ),
  ).toString('base64url')

for (const [name, text, problem] of [
  ['of a stranger', signRevocations(newKeyPair(), { after: 0, removed: [lost] }, now), /another pool/],
  ['of a member', signRevocations(adminOf(root, 'member'), { after: 0, removed: [lost] }, now), /no admin/],
  [
    'of an admin of another pool',
    signRevocations(adminOf(newKeyPair()), { after: 0, removed: [lost] }, now),
    /another pool/,
  ],
  [
    'of an admin whose certificate had expired',
    signRevocations(adminOf(root, 'admin', now - 30 * 86400e3), { after: 0, removed: [lost] }, now),
    /expired/,
  ],
  ['of an admin that is on it', signRevocations(admin, { after: 0, removed: [adminId] }, now), /removed/],
  ['of our key for another pool', body({ 1: Buffer.alloc(32) }), /another pool/],
  ['from the future', body({ 3: now / 1000 + 3600 }), /future/],
  ['with a number that is none', body({ 2: -1 }), /fields/],
  [
    'with keys out of order',
    body({ 4: [Buffer.from([lost, other].toSorted()[1], 'hex'), Buffer.from([lost, other].toSorted()[0], 'hex')] }),
    /order/,
  ],
  ['with the same key twice', body({ 4: [Buffer.from(lost, 'hex'), Buffer.from(lost, 'hex')] }), /order/],
  ['with a short key', body({ 4: [Buffer.alloc(31)] }), /32 bytes/],
  ['with a version of the future', body({ 0: 2 }), /version 2/],
  ['of nothing', '', /base64url/],
  ['of zeros', 'AAAA', /CBOR/],
  ['too long', 'A'.repeat(limits.revocationBytes + 1), /base64url/],
] as const) {
  test(`revocations: refused: one ${name}`, () =>
    assert.throws(() => readRevocations(text, root.publicKey, now), { code: 'revocationsInvalid', message: problem }))
}

test('revocations: as many devices as the limit fit into one list, one more does not', () => {
  const ids = Array.from({ length: limits.removedDevices + 1 }, (_, index) => index.toString(16).padStart(64, '0'))
  assert.equal(list(root, 0, ...ids.slice(1)).removed.size, limits.removedDevices)
  assert.throws(() => signRevocations(root, { after: 0, removed: ids }, now), { code: 'overloaded' })
})

test('revocations: the higher number replaces the lower, never the other way', () => {
  const [first, second] = [list(root, 0, lost), list(root, 1)]
  assert.deepEqual(
    [replaces(first, undefined), replaces(second, first), replaces(first, second), replaces(first, first)],
    [true, true, false, false],
  )
})

test('revocations: two lists of one number: both sides keep the same one', () => {
  const [a, b] = [list(root, 0, lost), list(admin, 0, other)]
  assert.notEqual(replaces(a, b), replaces(b, a))
  assert.ok(replaces(list(root, 0, lost, other), a))
})

test('revocations: an admin that was removed replaces nothing, and the root key undoes what it did elsewhere', () => {
  const withoutIt = list(root, 1, adminId)
  const revenge = list(admin, 7, other)
  assert.equal(replaces(revenge, withoutIt), false)
  assert.equal(replaces(withoutIt, revenge), true)
})

test('revocations: numbers and times are counts of four bytes, and a list may be a little ahead of this clock', () => {
  const readAt = (text: string, at = now): RevocationList => readRevocations(text, root.publicKey, at)
  assert.equal(readAt(body({ 2: 2 ** 32 - 1 })).number, 2 ** 32 - 1)
  for (const change of [{ 2: 2 ** 32 }, { 2: 1.5 }, { 2: -1 }, { 3: 'now' }, { 3: 2 ** 32 }, { 4: 'nobody' }])
    assert.throws(() => readAt(body(change)), { code: 'revocationsInvalid', message: /fields are wrong/ })
  assert.ok(readAt(body({}), now - limits.clockSkewMs))
  assert.throws(() => readAt(body({}), now - limits.clockSkewMs - 1), { message: /from the future/ })
  const text = signRevocations(root, { after: 0, removed: [lost] }, now + 999)
  assert.equal(readAt(text).time, now)
})

test('revocations: an admin that was not removed replaces what another one signed, and undoes nothing by its name alone', () => {
  const second = adminOf(root)
  assert.ok(replaces(list(second, 5, lost), list(admin, 4, other)))
  assert.ok(!replaces(list(second, 3, adminId), list(admin, 4, other)), 'the word of an admin undoes none of another')
  assert.ok(!replaces(list(root, 3, lost), list(admin, 4, other)), 'the root key undoes those that it removes')
  assert.ok(!replaces(list(root, 3, adminId), list(root, 4, other)))
})

test('revocations: who is on a list is removed, and nobody where there is none', () => {
  const removals = removalsOf(list(root, 0, lost))
  assert.deepEqual([removals.has(lost), removals.has(other)], [true, false])
  assert.equal(removalsOf(undefined).has(lost), false)
})
