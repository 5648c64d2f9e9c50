import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseControlPlaneId } from '../ids.ts'
import { encodeCbor } from '../wire/envelope.ts'
import { limits } from '../limits.ts'
import { newControlPlaneKey } from './control-plane-key.ts'
import { type ControlPlanePin, isVoid, readPin, replacesPin, signPin } from './control-plane-pin.ts'
import { deviceIdOf } from './device-key.ts'
import { type KeyPair, newKeyPair } from './keys.ts'
import { issueCertificate, poolIdOf, type Signer } from './pool-certificate.ts'
import { signRevocations } from './revocation-list.ts'
import { encodeStatement } from './signed-statement.ts'

const root = newKeyPair()
const now = Date.UTC(2026, 0, 1)
const [home, other] = [newControlPlaneKey().id, newControlPlaneKey().id]
const nobody = { has: () => false }

const adminOf = (signer: KeyPair, role: 'admin' | 'member' = 'admin', at = now - 1000): Signer & { key: KeyPair } => {
  const key = newKeyPair()
  return { key, certificate: issueCertificate(signer, { deviceId: deviceIdOf(key), role }, at) }
}
const admin = adminOf(root)
const adminId = deviceIdOf(admin.key)
const withoutAdmin = { has: (deviceId: string) => deviceId === adminId }

const pin = (signer: Signer, after: number, controlPlaneId = home, at = now): ControlPlanePin =>
  readPin(signPin(signer, { after, controlPlaneId }, at), root.publicKey, at)

test('pin: it tells pool, control plane, number, time and who signed', () => {
  const { text, ...said } = pin(root, 6)
  const poolId = poolIdOf(root.publicKey)
  assert.deepEqual(said, { poolId, controlPlaneId: home, number: 7, time: now, signedBy: undefined })
  assert.ok(text.length < limits.pinLength / 2)
  assert.equal(pin(admin, 0).signedBy, adminId)
  assert.ok(pin(admin, 0).text.length < limits.pinLength / 2)
})

test('pin: it holds longer than the certificate of the admin that signed it', () => {
  assert.equal(readPin(pin(admin, 0).text, root.publicKey, now + 365 * 86400e3).controlPlaneId, home)
})

test('pin: a clock that is a little behind takes it', () => {
  const text = signPin(root, { after: 0, controlPlaneId: home }, now)
  assert.equal(readPin(text, root.publicKey, now - limits.clockSkewMs).number, 1)
  assert.throws(() => readPin(text, root.publicKey, now - limits.clockSkewMs - 1), {
    code: 'pinInvalid',
    message: /future/,
  })
})

const fields = [1, Buffer.from(poolIdOf(root.publicKey), 'hex'), Buffer.from(home, 'hex'), 1, now / 1000]
const body = (change: Readonly<Record<number, unknown>>, domain = 'meshnet-control-plane-pin-v1', count = 5): string =>
  Buffer.from(
    encodeStatement(domain, encodeCbor(Object.values({ ...fields, ...change }).slice(0, count)), root),
  ).toString('base64url')
const of = (signer: Signer): string => signPin(signer, { after: 0, controlPlaneId: home }, now)
const good = of(root)
const changed = (at: number): string => {
  const bytes = Buffer.from(good, 'base64url')
  bytes[at] ^= 1
  return bytes.toString('base64url')
}
/** The same bytes with another last digit. */
const twin = (text: string): string => {
  const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const last = digits.indexOf(text.at(-1) ?? '')
  return text.slice(0, -1) + digits[last ^ 1]
}

test('pin: the body of these tests is a good one', () =>
  assert.equal(readPin(body({}), root.publicKey, now).controlPlaneId, home))

for (const [name, text, problem] of [
  ['of a stranger', of(newKeyPair()), /another pool/],
  ['of a member', of(adminOf(root, 'member')), /no admin/],
  ['of an admin of another pool', of(adminOf(newKeyPair())), /another pool/],
  ['of an admin whose certificate had expired', of(adminOf(root, 'admin', now - 30 * 86400e3)), /expired/],
  ['of our key for another pool', body({ 1: Buffer.alloc(32) }), /another pool/],
  ['from the future', body({ 4: now / 1000 + 3600 }), /future/],
  ['with number 0', body({ 3: 0 }), /fields/],
  ['with a number that is none', body({ 3: 1.5 }), /fields/],
  ['with a number beyond four bytes', body({ 3: BigInt(2 ** 32) }), /fields/],
  ['with a time that is none', body({ 4: -1 }), /fields/],
  ['with a short key', body({ 2: Buffer.alloc(31) }), /32 bytes/],
  ['with a key in text', body({ 2: home }), /32 bytes/],
  ['with a version of the future', body({ 0: 2 }), /version 2/],
  ['with a field too many', body({ 5: 1 }, undefined, 6), /fields/],
  ['with a field too few', body({}, undefined, 4), /fields/],
  ['that was signed as something else', body({}, 'meshnet-revocations-v1'), /root key/],
  ['that is a revocation list', signRevocations(root, { after: 0, removed: [] }, now), /bytes|root key/],
  ['that was changed', changed(40), /root key|bytes|another pool|CBOR/],
  ['whose signature was changed', changed(Buffer.from(good, 'base64url').length - 1), /root key/],
  ['with another last digit', good.length % 4 === 0 ? `${good}=` : twin(good), /base64url/],
  ['of nothing', '', /base64url/],
  ['of zeros', 'AAAA', /CBOR/],
  ['too long', 'A'.repeat(limits.pinLength + 1), /base64url/],
] as const) {
  test(`pin: refused: one ${name}`, () => {
    assert.throws(() => readPin(text, root.publicKey, now), { code: 'pinInvalid', message: problem })
  })
}

test('pin: the higher number replaces the lower, never the other way', () => {
  const [first, second] = [pin(root, 0), pin(admin, 1, other)]
  const replaced = [
    [first, undefined],
    [second, first],
    [first, second],
    [first, first],
  ] as const
  assert.deepEqual(
    replaced.map(([next, held]) => replacesPin(next, held, nobody)),
    [true, true, false, false],
  )
})

test('pin: of two with one number every side keeps the same one, that of the root key if there is one', () => {
  const [a, b] = [pin(admin, 3), pin(adminOf(root), 3, other)]
  assert.notEqual(replacesPin(a, b, nobody), replacesPin(b, a, nobody))
  for (const ofAdmin of [a, b]) {
    assert.equal(replacesPin(pin(root, 3), ofAdmin, nobody), true)
    assert.equal(replacesPin(ofAdmin, pin(root, 3), nobody), false)
  }
})

test('pin: an admin that was removed replaces nothing, and whoever was not undoes what it did, whatever number it took', () => {
  const highest = pin(admin, 2 ** 32 - 2, other)
  assert.equal(highest.number, 2 ** 32 - 1)
  assert.equal(replacesPin(highest, pin(root, 0), nobody), true)
  assert.deepEqual(
    [isVoid(highest, nobody), isVoid(highest, withoutAdmin), isVoid(pin(root, 0), { has: () => true })],
    [false, true, false],
  )
  for (const held of [undefined, pin(root, 0), pin(admin, 1)])
    assert.equal(replacesPin(highest, held, withoutAdmin), false)
  for (const next of [pin(root, 0), pin(adminOf(root), 0)]) assert.equal(replacesPin(next, highest, withoutAdmin), true)
})

test('pin: behind the last number comes no other', () => {
  const last = pin(root, 2 ** 32 - 1, other)
  assert.equal(last.number, 2 ** 32 - 1)
  assert.equal(last.controlPlaneId, other)
  assert.throws(() => signPin(root, { after: 0, controlPlaneId: parseControlPlaneId('x') }, now))
})
