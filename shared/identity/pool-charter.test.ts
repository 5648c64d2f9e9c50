import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeCbor } from '../wire/envelope.ts'
import { newKeyPair } from './keys.ts'
import { issueCertificate, poolIdOf, signing } from './pool-certificate.ts'
import { deviceIdOf } from './device-key.ts'
import { readCharter, signCharter } from './pool-charter.ts'

const root = newKeyPair()
const textOf = (body: readonly unknown[], key = root, domain = 'meshnet-pool-charter-v1'): string =>
  Buffer.from(signing(key).statement(domain, encodeCbor([...body]))).toString('base64url')
const poolId = Buffer.from(poolIdOf(root.publicKey), 'hex')

test('charter: what the root key signed, both ways; without one as pools always were', () => {
  for (const adminsReadText of [true, false])
    assert.deepEqual(readCharter(signCharter(root, { adminsReadText }), root.publicKey), { adminsReadText })
  for (const none of [undefined, null]) assert.deepEqual(readCharter(none, root.publicKey), { adminsReadText: false })
  assert.deepEqual(readCharter(textOf([1, poolId, 1]), root.publicKey), { adminsReadText: true })
})

test('charter: nothing else holds: other keys, admins, other pools, other kinds, changed bits', () => {
  const admin = newKeyPair()
  const certificate = issueCertificate(root, { deviceId: deviceIdOf(admin), role: 'admin' }, Date.now())
  const byAdmin = Buffer.from(
    signing({ key: admin, certificate }).statement('meshnet-pool-charter-v1', encodeCbor([1, poolId, 1])),
  ).toString('base64url')
  const text = signCharter(root, { adminsReadText: false })
  const changed = Array.from(
    text,
    (_, index) => text.slice(0, index) + (text[index] === 'B' ? 'C' : 'B') + text.slice(index + 1),
  )
  const wrong: [string, RegExp][] = [
    [textOf([1, poolId, 1], newKeyPair()), /did not sign/],
    [byAdmin, /did not sign/],
    [textOf([1, poolId, 1], root, 'meshnet-revocations-v1'), /did not sign/],
    [textOf([2, poolId, 1]), /version 2/],
    [textOf([1, poolIdOf(newKeyPair().publicKey), 1]), /another pool/],
    [textOf([1, Buffer.alloc(32), 1]), /another pool/],
    [textOf([1, poolId, 2]), /fields/],
    [textOf([1, poolId, true]), /fields/],
    [textOf([1, poolId]), /signed statement/],
    ['', /base64url/],
    ['?', /base64url/],
    ['A'.repeat(4097), /base64url/],
    ['AAAA', /signed statement/],
  ]
  for (const [bad, problem] of wrong)
    assert.throws(
      () => readCharter(bad, root.publicKey),
      (error: { code: string; message: string }) => error.code === 'charterInvalid' && problem.test(error.message),
      bad.slice(0, 40),
    )
  for (const bad of changed.slice(0, -1))
    assert.throws(() => readCharter(bad, root.publicKey), { code: 'charterInvalid' })
})
