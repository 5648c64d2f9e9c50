import assert from 'node:assert/strict'
import { test } from 'node:test'
import { verify } from '@noble/ed25519'
import { fromHex, keyPairFromSeed, newKeyPair, signBytes, toHex, verifyBytes } from './keys.ts'

/** RFC 8032, section 7.1, tests 1 to 3: seed, public key, message, signature. */
const vectors = [
  [
    '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
    'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
    '',
    'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
  ],
  [
    '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
    '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
    '72',
    '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
  ],
  [
    'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
    'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
    'af82',
    '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
  ],
] as const

for (const [index, [seed, publicKey, message, signature]] of vectors.entries()) {
  test(`keys: RFC 8032 vector ${index + 1}`, () => {
    const key = keyPairFromSeed(fromHex(seed, 32, 'seed'))
    assert.equal(toHex(key.publicKey), publicKey)
    assert.equal(toHex(signBytes(key, Buffer.from(message, 'hex'))), signature)
    assert.ok(verifyBytes(key.publicKey, Buffer.from(message, 'hex'), Buffer.from(signature, 'hex')))
  })
}

test('keys: a changed message, signature or key does not verify, malformed ones neither', () => {
  const key = newKeyPair()
  const message = Buffer.from('hello')
  const signature = signBytes(key, message)
  assert.ok(verifyBytes(key.publicKey, message, signature))
  assert.ok(!verifyBytes(key.publicKey, Buffer.from('hellp'), signature))
  assert.ok(!verifyBytes(newKeyPair().publicKey, message, signature))
  assert.ok(
    !verifyBytes(
      key.publicKey,
      message,
      signature.map((byte, i) => (i === 5 ? byte ^ 1 : byte)),
    ),
  )
  for (const length of [0, 31, 33]) assert.ok(!verifyBytes(new Uint8Array(length), message, signature))
  for (const length of [0, 63, 65]) assert.ok(!verifyBytes(key.publicKey, message, new Uint8Array(length)))
  assert.ok(!verifyBytes(new Uint8Array(32).fill(255), message, signature))
})

/**
 * The eight points of small order (those of `ED25519_TORSION_SUBGROUP` in @noble/curves), and two with a sign that x =
 * 0 has not.
 */
const smallOrder = [
  '0100000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000080',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa',
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0000000000000000000000000000000000000000000000000000000000000080',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
]

test('keys: of the points of small order none is a key: what holds for them holds for any text', () => {
  const points = smallOrder.map((hex) => fromHex(hex, 32, 'point'))
  for (const point of points) {
    // R = A, s = 0 passes the equation of the signature for every message whose hash is a multiple of the order
    for (let trial = 0; trial < 64; trial++) {
      assert.ok(!verifyBytes(point, Buffer.from([trial]), Buffer.concat([point, Buffer.alloc(32)])), toHex(point))
    }
  }
  for (const low of ['ed', 'ee', 'f0', 'ff']) {
    // y beyond the prime, with either sign of x
    for (const high of ['7f', 'ff']) {
      const beyond = fromHex(`${low}${'ff'.repeat(30)}${high}`, 32, 'key')
      for (let trial = 0; trial < 64; trial++) {
        const [message, signature] = [Buffer.from([trial]), Buffer.concat([beyond, Buffer.alloc(32)])]
        assert.ok(!verifyBytes(beyond, message, signature), low)
      }
    }
  }
})

test('keys: what the one library signs the other verifies, and none takes what the other refuses', () => {
  for (let round = 0; round < 40; round++) {
    const key = newKeyPair()
    const message = Buffer.alloc(round * 7, round)
    const signature = signBytes(key, message)
    assert.ok(verifyBytes(key.publicKey, message, signature))
    for (const place of [round % 64, (round * 31) % 64]) {
      const changed = signature.map((byte, index) => (index === place ? byte ^ (1 << (round % 8)) : byte))
      assert.ok(
        !verifyBytes(key.publicKey, message, changed) && !verify(changed, message, key.publicKey, { zip215: false }),
      )
    }
  }
  // s + L is the same number to a careless verifier
  const key = newKeyPair()
  const signature = signBytes(key, Buffer.from('hello'))
  const order = 2n ** 252n + 27742317777372353535851937790883648493n
  const s = BigInt(`0x${toHex(signature.slice(32).toReversed())}`) + order
  const larger = Buffer.concat([
    signature.slice(0, 32),
    Buffer.from(s.toString(16).padStart(64, '0'), 'hex').toReversed(),
  ])
  assert.ok(!verifyBytes(key.publicKey, Buffer.from('hello'), larger))
})
