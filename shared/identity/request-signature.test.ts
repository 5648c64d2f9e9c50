import assert from 'node:assert/strict'
import { test } from 'node:test'
import { headers } from '../headers.ts'
import { limits } from '../limits.ts'
import { newControlPlaneKey } from './control-plane-key.ts'
import { deviceIdOf } from './device-key.ts'
import { newKeyPair, toHex } from './keys.ts'
import { MeshError } from '../errors.ts'
import { bodyHash, checkBody, type NonceGuard, signRequest, verifyRequest } from './request-signature.ts'

const key = newKeyPair()
const own = newControlPlaneKey().id
const parts = { method: 'POST', path: '/api/pools?x=1', body: '{"a":1}', recipient: own }
const now = 1_800_000_000_000

const newGuard = (): NonceGuard => {
  const seen = new Set<string>()
  return {
    check: (device, nonce) => {
      if (seen.has(device + nonce)) throw new MeshError('replayed')
      seen.add(device + nonce)
    },
  }
}

test('request: a signed one names its device', () => {
  assert.equal(verifyRequest(signRequest(key, parts, now), parts, { own, guard: newGuard(), now }), deviceIdOf(key))
})

test('request: any change to method, path, hash of the body, time or nonce is noticed', () => {
  const signed = signRequest(key, parts, now)
  for (const changed of [
    { ...parts, method: 'DELETE' },
    { ...parts, path: '/api/pools?x=2' },
  ]) {
    assert.throws(() => verifyRequest(signed, changed, { own, guard: newGuard(), now }), { code: 'signatureInvalid' })
  }
  for (const change of [
    { [headers.body]: bodyHash('{"a":2}') },
    { [headers.time]: String(now + 1) },
    { [headers.nonce]: '0'.repeat(32) },
    { [headers.device]: deviceIdOf(newKeyPair()) },
  ]) {
    assert.throws(() => verifyRequest({ ...signed, ...change }, parts, { own, guard: newGuard(), now }), {
      code: 'signatureInvalid',
    })
  }
})

test('request: a missing or malformed header is named', () => {
  const signed = signRequest(key, parts, now)
  for (const name of [
    headers.device,
    headers.recipient,
    headers.time,
    headers.nonce,
    headers.body,
    headers.signature,
  ]) {
    assert.throws(() => verifyRequest({ ...signed, [name]: undefined }, parts, { own, guard: newGuard(), now }), {
      code: 'signatureInvalid',
      message: new RegExp(`${name} is missing`),
    })
    assert.throws(() => verifyRequest({ ...signed, [name]: 'zz' }, parts, { own, guard: newGuard(), now }), {
      code: 'signatureInvalid',
      message: new RegExp(`${name} is malformed`),
    })
  }
})

test('request: the same one twice is refused; one that is not signed is not even remembered', () => {
  const guard = newGuard()
  const signed = signRequest(key, parts, now)
  verifyRequest(signed, parts, { own, guard, now })
  assert.throws(() => verifyRequest(signed, parts, { own, guard, now }), { code: 'replayed' })
  assert.throws(() => verifyRequest(signed, parts, { own, guard, now: now + limits.clockSkewMs }), { code: 'replayed' })
  const next = signRequest(key, parts, now)
  assert.throws(() => verifyRequest(next, { ...parts, path: '/' }, { own, guard, now }), { code: 'signatureInvalid' })
  verifyRequest(next, parts, { own, guard, now })
})

test('request: a clock that is far off is explained, with how far and which way', () => {
  const signed = signRequest(key, parts, now)
  assert.throws(() => verifyRequest(signed, parts, { own, guard: newGuard(), now: now + limits.clockSkewMs + 1000 }), {
    message: 'the clock of this device is 5 min 1 s behind the control plane',
  })
  assert.throws(() => verifyRequest(signed, parts, { own, guard: newGuard(), now: now - 3600e3 }), {
    message: 'the clock of this device is 1 h ahead of the control plane',
  })
})

test('request: a body is compared with the hash that was signed, and none is a body of no bytes', () => {
  checkBody(signRequest(key, parts, now), bodyHash(parts.body))
  checkBody(signRequest(key, { ...parts, body: '' }, now))
  for (const hash of [bodyHash('{"a":2}'), undefined]) {
    assert.throws(() => checkBody(signRequest(key, parts, now), hash), {
      code: 'signatureInvalid',
      message: /not the one that was signed/,
    })
  }
})

test('request: a sender of another version is told which each side speaks, and who must update', () => {
  const device = `device ${toHex(key.publicKey).slice(0, 8)}`
  for (const [shown, older, newer] of [
    [undefined, `${device} speaks version 1 `, ', the control plane version 2'],
    ['99', 'the control plane speaks version 2 ', `, ${device} version 99`],
  ] as const) {
    const other = { ...signRequest(key, parts, now), [headers.protocol]: shown }
    assert.throws(
      () => verifyRequest(other, parts, { own, guard: newGuard(), now }),
      (error: unknown) => {
        assert.ok(error instanceof MeshError)
        assert.equal(error.code, 'protocolVersion')
        assert.equal(error.message, `${older}of requests to a control plane${newer}`)
        assert.match(error.hint, new RegExp(`^update Mesh on ${older.split(' speaks')[0]}:`))
        return true
      },
    )
  }
  const nonsense = { ...signRequest(key, parts, now), [headers.protocol]: '\u001b[2J' }
  assert.throws(() => verifyRequest(nonsense, parts, { own, guard: newGuard(), now }), {
    code: 'protocolVersion',
    message: /version \(none\)/,
  })
})

test('request: one for another control plane is refused, whoever passes it on and whatever it says then', () => {
  const other = newControlPlaneKey().id
  const signed = signRequest(key, { ...parts, recipient: other }, now)
  assert.throws(() => verifyRequest(signed, parts, { own, guard: newGuard(), now }), {
    code: 'wrongControlPlane',
    fields: { wanted: other.slice(0, 8), own: own.slice(0, 8) },
  })
  assert.throws(() => verifyRequest({ ...signed, [headers.recipient]: own }, parts, { own, guard: newGuard(), now }), {
    code: 'signatureInvalid',
  })
})
