import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ErrorCode } from '../errors.ts'
import { encodeCbor } from '../wire/envelope.ts'
import { deviceIdOf } from './device-key.ts'
import { type KeyPair, newKeyPair } from './keys.ts'
import { limits } from '../limits.ts'
import {
  type Certificate,
  certificateLifetimeMs,
  checkOwner,
  isRemoved,
  issueCertificate,
  poolIdIn,
  poolIdOf,
  verifyCertificate,
  verifyForRenewal,
} from './pool-certificate.ts'
import { decodeStatement, encodeStatement } from './signed-statement.ts'

const root = newKeyPair()
const device = newKeyPair()
const admin = newKeyPair()
const deviceId = deviceIdOf(device)
const adminId = deviceIdOf(admin)
const now = Date.UTC(2026, 0, 1)
const day = 86400e3
const member = { deviceId, role: 'member' } as const
const text = issueCertificate(root, member, now)
/** What makes `admin` an admin from a day ago on. */
const adminText = issueCertificate(root, { deviceId: adminId, role: 'admin' }, now - day)
const byAdmin = issueCertificate({ key: admin, certificate: adminText }, member, now)

const bytesOf = (one: string): Buffer => Buffer.from(one, 'base64url')
const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')
/** Signs fields as they are, as an attacker with that key could. */
const sign = (key: KeyPair, fields: readonly unknown[], signer?: string): string =>
  textOf(
    encodeStatement(
      'meshnet-certificate-v2',
      encodeCbor(fields),
      key,
      signer === undefined ? undefined : bytesOf(signer),
    ),
  )
const fields = (change: Readonly<Record<number, unknown>> = {}): unknown[] =>
  Object.values({
    ...[
      2,
      Buffer.from(poolIdOf(root.publicKey), 'hex'),
      Buffer.from(deviceId, 'hex'),
      0,
      Buffer.alloc(16),
      now / 1000,
      now / 1000 + 60,
    ],
    ...change,
  })

test('certificate: a fresh one tells pool, device, role and dates', () => {
  const certificate = verifyCertificate(text, root.publicKey, now)
  assert.equal(certificate.poolId, poolIdOf(root.publicKey))
  assert.equal(certificate.deviceId, deviceId)
  assert.equal(certificate.role, 'member')
  assert.equal(certificate.signedBy, undefined)
  assert.equal(certificate.notAfter - certificate.notBefore, certificateLifetimeMs)
  assert.notEqual(
    certificate.serial,
    verifyCertificate(issueCertificate(root, member, now), root.publicKey, now).serial,
  )
})

test('certificate: one that an admin signed names it, and ends with the certificate of that admin', () => {
  const certificate = verifyCertificate(byAdmin, root.publicKey, now)
  assert.equal(certificate.signedBy, adminId)
  assert.equal(certificate.notAfter, now - day + certificateLifetimeMs)
  assert.equal(poolIdIn(byAdmin), poolIdOf(root.publicKey))
})

const removed = (...ids: string[]): { has(id: string): boolean } => new Set(ids)
const memberText = issueCertificate(root, { deviceId: adminId, role: 'member' }, now)
const otherRoot = newKeyPair()
const forged = newKeyPair()
// a length in two bytes that fits in one
const longHeader = Buffer.concat([Buffer.from([0x98, 2]), bytesOf(text).subarray(1)])
const bodyNotCanonical = encodeStatement(
  'meshnet-certificate-v2',
  Buffer.concat([Buffer.from([0x98, 7]), Buffer.from(encodeCbor(fields())).subarray(1)]),
  root,
)

const refusals: readonly (readonly [
  name: string,
  certificate: string,
  code: ErrorCode,
  problem: RegExp,
  change?: { at?: number; removals?: { has(id: string): boolean } },
])[] = [
  ['an expired one', text, 'certificateExpired', /expired/, { at: now + certificateLifetimeMs }],
  ['one from the future', text, 'certificateInvalid', /valid from/, { at: now - 3600e3 }],
  ['one of another pool', issueCertificate(otherRoot, member, now), 'certificateInvalid', /not of the root key/],
  [
    'one of our root key that names another pool',
    sign(root, fields({ 1: Buffer.alloc(32) })),
    'certificateInvalid',
    /another pool/,
  ],
  ['one of a device that was removed', text, 'memberRemoved', /was removed/, { removals: removed(deviceId) }],
  [
    'a forged admin: its certificate is signed by itself',
    issueCertificate(
      { key: forged, certificate: issueCertificate(forged, { deviceId: deviceIdOf(forged), role: 'admin' }, now) },
      member,
      now,
    ),
    'certificateInvalid',
    /not of the root key/,
  ],
  [
    'a forged admin: the certificate of a real one, signed with another key',
    sign(forged, fields(), adminText),
    'certificateInvalid',
    /not of the admin/,
  ],
  [
    'an admin of another pool',
    issueCertificate(
      { key: admin, certificate: issueCertificate(otherRoot, { deviceId: adminId, role: 'admin' }, now) },
      member,
      now,
    ),
    'certificateInvalid',
    /not of the root key/,
  ],
  [
    'an admin whose own certificate expired',
    sign(admin, fields({ 6: now / 1000 + 90 * 86400 }), adminText),
    'certificateExpired',
    /expired/,
    { at: now + 8 * day },
  ],
  ['an admin that was removed', byAdmin, 'memberRemoved', /was removed/, { removals: removed(adminId) }],
  [
    'a member that signs a certificate',
    issueCertificate({ key: admin, certificate: memberText }, member, now),
    'certificateInvalid',
    /no admin/,
  ],
  [
    'an admin that names an admin',
    issueCertificate({ key: admin, certificate: adminText }, { deviceId, role: 'admin' }, now),
    'certificateInvalid',
    /root key alone/,
  ],
  [
    'a chain of two admins',
    sign(device, fields(), issueCertificate({ key: admin, certificate: adminText }, { deviceId, role: 'admin' }, now)),
    'certificateInvalid',
    /not named by the root key/,
  ],
  ['CBOR that is not canonical, outside', textOf(longHeader), 'certificateInvalid', /not canonical/],
  ['CBOR that is not canonical, inside', textOf(bodyNotCanonical), 'certificateInvalid', /not canonical/],
  ['bytes behind it', textOf(Buffer.concat([bytesOf(text), Buffer.from([0])])), 'certificateInvalid', /./],
  ['another text for the same bytes', `${text}=`, 'certificateInvalid', /base64url/],
  ['a version of the future', sign(root, fields({ 0: 3 })), 'certificateInvalid', /version 3/],
  ['an unknown role', sign(root, fields({ 3: 7 })), 'certificateInvalid', /role/],
  ['a role that is no number', sign(root, fields({ 3: 'length' })), 'certificateInvalid', /role/],
  ['a short device key', sign(root, fields({ 2: Buffer.alloc(31) })), 'certificateInvalid', /device key/],
  ['a time that is text', sign(root, fields({ 6: 'later' })), 'certificateInvalid', /not after/],
  ['a time without end', sign(root, fields({ 6: 2 ** 40 })), 'certificateInvalid', /not after/],
  ['nothing', '', 'certificateInvalid', /base64url/],
  ['signs that are no base64url', '!!!', 'certificateInvalid', /base64url/],
  ['zeros', 'AAAA', 'certificateInvalid', /not CBOR/],
  ['a very long text', 'x'.repeat(100_000), 'certificateInvalid', /base64url/],
  ['a pair of numbers', textOf(encodeCbor([1, 2])), 'certificateInvalid', /bytes/],
  [
    'a pair of wrong sizes',
    textOf(encodeCbor([Buffer.alloc(10), Buffer.alloc(64)])),
    'certificateInvalid',
    /signature/,
  ],
  ['a map', textOf(encodeCbor({})), 'certificateInvalid', /fields/],
]

for (const [name, certificate, code, message, { at = now, removals } = {}] of refusals) {
  test(`certificate: refused: ${name}`, () =>
    assert.throws(() => verifyCertificate(certificate, root.publicKey, at, removals), { code, message }))
}

test('certificate: clocks may differ a little', () => {
  assert.ok(verifyCertificate(text, root.publicKey, now - 60e3))
  assert.ok(verifyCertificate(text, root.publicKey, now - limits.clockSkewMs))
  assert.throws(() => verifyCertificate(text, root.publicKey, now - limits.clockSkewMs - 1), { message: /valid from/ })
})

test('certificate: times are whole seconds, and part of one makes it hold no longer', () => {
  const { notBefore, notAfter } = verifyCertificate(
    issueCertificate(root, member, now + 999, 60_999),
    root.publicKey,
    now,
  )
  assert.deepEqual([notBefore, notAfter], [now, now + 61_000])
  for (const seconds of [now / 1000 + 60.5, -1, 2 ** 32, 'soon'])
    assert.throws(
      () => verifyCertificate(sign(root, fields({ 6: seconds })), root.publicKey, now),
      { message: /not after is not a time/ },
      String(seconds),
    )
  const last = sign(root, fields({ 6: 2 ** 32 - 1 }))
  assert.equal(verifyCertificate(last, root.publicKey, now).notAfter, (2 ** 32 - 1) * 1000)
})

test('certificate: a text is as long as two of the largest at most, and is the one text of its bytes', () => {
  const problemOf = (one: string): string => {
    try {
      verifyCertificate(one, root.publicKey, now)
      return 'none'
    } catch (error) {
      return (error as Error).message
    }
  }
  assert.doesNotMatch(problemOf('A'.repeat(2 * limits.certificateBytes)), /base64url/)
  assert.match(problemOf('A'.repeat(2 * limits.certificateBytes + 4)), /base64url/)
  const signed = [0, 255, 65_536].map((notBefore) => sign(root, fields({ 5: notBefore })))
  const loose = signed.filter((one) => one.length % 4 !== 0)
  assert.ok(loose.length > 0)
  const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  for (const one of loose) {
    assert.equal(problemOf(one), 'none')
    const twin = one.slice(0, -1) + digits[digits.indexOf(one.slice(-1)) + 1]
    assert.deepEqual(bytesOf(twin), bytesOf(one))
    assert.match(problemOf(twin), /base64url/)
  }
})

test('certificate: it is worth something to its own device alone', () => {
  const certificate = verifyCertificate(text, root.publicKey, now)
  checkOwner(certificate, deviceId)
  for (const other of [adminId, undefined])
    assert.throws(() => checkOwner(certificate, other), { code: 'certificateInvalid', message: /another device/ })
})

test('certificate: removed is its device, or the admin that let it in', () => {
  const of = (one: string): Certificate => verifyCertificate(one, root.publicKey, now)
  const without = (...ids: string[]) => ({ has: (id: string) => ids.includes(id) })
  assert.deepEqual(
    [without(), without(deviceId), without(adminId), without(deviceId, adminId)].map((removals) => [
      isRemoved(of(text), removals),
      isRemoved(of(byAdmin), removals),
    ]),
    [
      [false, false],
      [true, true],
      [false, true],
      [true, true],
    ],
  )
})

test('certificate: it can be renewed until 90 days after its end, or that of the admin that signed it', () => {
  const nobodyIs = { has: () => false }
  for (const [one, end] of [
    [text, now + certificateLifetimeMs],
    [byAdmin, now - day + certificateLifetimeMs],
  ] as const) {
    const renewable = (at: number): Certificate => verifyForRenewal(one, root.publicKey, at, nobodyIs)
    const last = end - 1000 + 90 * day
    for (const at of [now, end - 1, end, end + day, last]) assert.equal(renewable(at).deviceId, deviceId)
    assert.throws(() => renewable(last + 1), { code: 'certificateExpired' })
  }
  assert.throws(() => verifyForRenewal(text, root.publicKey, now + 30 * day, { has: (id) => id === deviceId }), {
    code: 'memberRemoved',
  })
  assert.throws(() => verifyForRenewal(text, root.publicKey, now - day, nobodyIs), { message: /valid from/ })
})

for (const [name, one] of [
  ['of the root key', text],
  ['of an admin', byAdmin],
] as const) {
  test(`certificate: every changed byte is noticed, ${name}`, () => {
    const bytes = bytesOf(one)
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes)
      changed[at] ^= 0x40
      assert.throws(() => verifyCertificate(textOf(changed), root.publicKey, now), { name: 'MeshError' }, `byte ${at}`)
    }
  })
}

test('certificate: a chain cut off is refused', () => {
  const { body, signature } = decodeStatement(bytesOf(byAdmin))
  assert.throws(() => verifyCertificate(textOf(encodeCbor([body, signature])), root.publicKey, now), {
    code: 'certificateInvalid',
    message: /not of the root key/,
  })
})

test('certificate: the pool it names can be read before it is checked', () => {
  assert.equal(poolIdIn(text), poolIdOf(root.publicKey))
  for (const bad of ['', 'AAAA', text.slice(0, 20), text.slice(0, -90), '!!']) assert.equal(poolIdIn(bad), undefined)
})
