import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeCbor } from '../wire/envelope.ts'
import { newControlPlaneKey } from './control-plane-key.ts'
import { decodeInvite, encodeInvite, inviteProof, inviteUrls, isProof } from './invite.ts'
import { newKeyPair } from './keys.ts'
import { poolIdOf } from './pool-certificate.ts'

const root = newKeyPair().publicKey
const invite = {
  rootPublicKey: Uint8Array.from(root),
  inviteId: '0123456789abcdef',
  secret: new Uint8Array(16).fill(7),
  notAfter: 1_800_000_000_000,
  urls: ['https://192.168.1.20:8080', 'http://127.0.0.1:8080'],
  controlPlaneKey: newControlPlaneKey().id,
}
const line = encodeInvite(invite)

test('invite: one line, read back as it was, with spaces around it or not', () => {
  assert.match(line, /^mesh-invite:[A-Za-z0-9_-]+$/)
  for (const text of [line, `  ${line}\n`]) {
    const { poolId, rootPublicKey, secret, ...rest } = decodeInvite(text)
    assert.equal(poolId, poolIdOf(root))
    assert.deepEqual([Buffer.from(rootPublicKey), Buffer.from(secret)], [Buffer.from(root), Buffer.from(invite.secret)])
    assert.deepEqual(rest, {
      inviteId: invite.inviteId,
      notAfter: invite.notAfter,
      urls: invite.urls,
      controlPlaneKey: invite.controlPlaneKey,
    })
  }
})

const withFields = (...fields: unknown[]): string =>
  `mesh-invite:${Buffer.from(encodeCbor(fields)).toString('base64url')}`
const parts = [Buffer.from(root), 1_800_000_000, Buffer.alloc(8), Buffer.alloc(16)]

for (const [name, text, problem] of [
  ['nothing', '', /does not begin/],
  ['another text', 'https://example.org', /does not begin/],
  ['a prefix alone', 'mesh-invite:', /whole line/],
  ['half of it', line.slice(0, -20), /missing/],
  ['two lines', `${line.slice(0, 40)}\n${line.slice(40)}`, /whole line/],
  ['a very long one', `mesh-invite:${'A'.repeat(10_000)}`, /whole line/],
  ['a version of the future', withFields(3, ...parts, [], Buffer.alloc(32)), /version 3/],
  ['one of before with a key', withFields(1, ...parts, [], Buffer.alloc(32)), /version 1/],
  ['one of now without', withFields(2, ...parts, []), /version 2/],
  ['half a key of the control plane', withFields(2, ...parts, [], Buffer.alloc(16)), /damaged/],
  ['a text for that key', withFields(2, ...parts, [], 'a'.repeat(64)), /damaged/],
  ['a short key', withFields(1, Buffer.alloc(31), ...parts.slice(1), []), /damaged/],
  ['an address that is none', withFields(1, ...parts, ['file:///etc/passwd']), /damaged/],
  ['one good address and one that is none', withFields(1, ...parts, ['http://a', 'file:///etc/passwd']), /damaged/],
  ['a text for its time', withFields(1, parts[0], 'soon', ...parts.slice(2), []), /damaged/],
  ['a text for its addresses', withFields(1, ...parts, 'http://a'), /damaged/],
  [
    'one address too many',
    withFields(
      1,
      ...parts,
      Array.from({ length: inviteUrls + 1 }, () => 'http://a'),
    ),
    /damaged/,
  ],
  [
    'a hundred addresses',
    withFields(
      1,
      ...parts,
      Array.from({ length: 100 }, () => 'http://a'),
    ),
    /damaged/,
  ],
] as const) {
  test(`invite: refused: ${name}`, () =>
    assert.throws(() => decodeInvite(text), { code: 'inviteInvalid', message: problem }))
}

test('invite: as many addresses as fit are kept, and part of a second makes it hold no longer', () => {
  const urls = Array.from({ length: inviteUrls + 2 }, (_, index) => `https://192.168.1.${index}:8080`)
  const read = decodeInvite(encodeInvite({ ...invite, urls, notAfter: 1_800_000_000_999 }))
  assert.deepEqual([read.urls, read.notAfter], [urls.slice(0, inviteUrls), 1_800_000_000_000])
})

test('invite: the longest line is looked into, one longer is not', () => {
  const problemOf = (digits: number): string => {
    try {
      decodeInvite(`mesh-invite:${'A'.repeat(digits)}`)
      return 'none'
    } catch (error) {
      return (error as Error).message
    }
  }
  assert.match(problemOf(2000), /damaged/)
  assert.match(problemOf(2001), /whole line/)
})

test('invite: one of before control planes had keys, or of a maker that knew none, is read: its addresses are spoken to by TLS', () => {
  const urls = ['http://192.168.1.20:8080', 'http://127.0.0.1:8080', 'http://desk.local']
  const secure = ['https://192.168.1.20:8080', 'http://127.0.0.1:8080', 'https://desk.local:80']
  const { controlPlaneKey: _, ...keyless } = invite
  for (const text of [withFields(1, ...parts, urls), encodeInvite({ ...keyless, urls })]) {
    const read = decodeInvite(text)
    assert.deepEqual([read.urls, read.controlPlaneKey], [secure, undefined])
  }
})

test('invite: a proof holds for one device, one pool and one secret', () => {
  const subject = { poolId: 'p', inviteId: 'i', deviceId: 'd' }
  const proof = inviteProof(invite.secret, subject)
  assert.ok(isProof(proof, inviteProof(invite.secret, subject)))
  for (const change of [{ poolId: 'q' }, { inviteId: 'j' }, { deviceId: 'e' }])
    assert.ok(!isProof(proof, inviteProof(invite.secret, { ...subject, ...change })))
  assert.ok(!isProof(proof, inviteProof(new Uint8Array(16), subject)))
  assert.ok(!isProof('', proof))
})
