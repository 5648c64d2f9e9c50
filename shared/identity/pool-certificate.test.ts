import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeCbor } from '../wire/envelope.ts'
import { deviceIdOf } from './device-key.ts'
import { newKeyPair } from './keys.ts'
import { certificateLifetimeMs, issueCertificate, poolIdIn, poolIdOf, verifyCertificate } from './pool-certificate.ts'

const root = newKeyPair()
const device = newKeyPair()
const deviceId = deviceIdOf(device)
const now = Date.UTC(2026, 0, 1)
const text = issueCertificate(root, { deviceId, role: 'member' }, now)

test('certificate: a fresh one tells pool, device, role and dates', () => {
  const certificate = verifyCertificate(text, root.publicKey, now)
  assert.equal(certificate.poolId, poolIdOf(root.publicKey))
  assert.equal(certificate.deviceId, deviceId)
  assert.equal(certificate.role, 'member')
  assert.equal(certificate.notAfter - certificate.notBefore, certificateLifetimeMs)
  assert.notEqual(certificate.serial, verifyCertificate(issueCertificate(root, { deviceId, role: 'member' }, now), root.publicKey, now).serial)
})

test('certificate: an expired one, and one from the future, are refused', () => {
  assert.throws(() => verifyCertificate(text, root.publicKey, now + certificateLifetimeMs), { code: 'certificateExpired' })
  assert.throws(() => verifyCertificate(text, root.publicKey, now - 3600e3), { code: 'certificateInvalid' })
  assert.ok(verifyCertificate(text, root.publicKey, now - 60e3), 'clocks may differ a little')
})

test('certificate: one of another pool is refused', () => {
  assert.throws(() => verifyCertificate(text, newKeyPair().publicKey, now), { code: 'certificateInvalid' })
})

test('certificate: every changed byte is noticed', () => {
  const bytes = Buffer.from(text, 'base64url')
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes)
    changed[at] ^= 0x40
    assert.throws(() => verifyCertificate(changed.toString('base64url'), root.publicKey, now), { name: 'MeshError' }, `byte ${at}`)
  }
})

test('certificate: garbage is refused before anything large is done with it', () => {
  const garbage = ['', '!!!', 'AAAA', 'x'.repeat(100_000), Buffer.from(encodeCbor([1, 2])).toString('base64url'), Buffer.from(encodeCbor([Buffer.alloc(10), Buffer.alloc(64)])).toString('base64url'), Buffer.from(encodeCbor({})).toString('base64url')]
  for (const one of garbage) assert.throws(() => verifyCertificate(one, root.publicKey, now), { code: 'certificateInvalid' })
})

test('certificate: the pool it names can be read before it is checked', () => {
  assert.equal(poolIdIn(text), poolIdOf(root.publicKey))
  for (const bad of ['', 'AAAA', text.slice(0, 20), text.slice(0, -90), '!!']) assert.equal(poolIdIn(bad), undefined)
})
