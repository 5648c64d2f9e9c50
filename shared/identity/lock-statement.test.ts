import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Commitment } from '../schema/lock.ts'
import { encodeCbor } from '../wire/envelope.ts'
import { keyPairFromSeed, newKeyPair, signBytes } from './keys.ts'
import { signCommitment, verifyCommitment } from './lock-statement.ts'

const key = keyPairFromSeed(new Uint8Array(32).fill(7))
const seven: Commitment = { sequence: 3, phase: 'locked', memoryBytes: 7e9, cooldownMs: 86400e3, at: 1_800_000_000_000 }

test('lock statement: what was signed is what is read, to the byte', () => {
  const commitments = fc.record(
    {
      sequence: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
      phase: fc.constantFrom('locked' as const, 'cooling' as const, 'released' as const),
      memoryBytes: fc.integer({ min: 0, max: 2 ** 50 }),
      cooldownMs: fc.integer({ min: 0, max: 2 ** 40 }),
      at: fc.integer({ min: 0, max: 1e10 }).map((seconds) => seconds * 1000),
    },
    { noNullPrototype: true },
  )
  fc.assert(
    fc.property(commitments, (commitment) => {
      const text = signCommitment(key, commitment)
      assert.deepEqual(verifyCommitment(text, key.publicKey), commitment)
      assert.equal(signCommitment(key, commitment), text)
    }),
    { numRuns: 50 },
  )
})

test('lock statement: the body is canonical CBOR, seven gigabytes an integer of nine bytes', () => {
  const hex = Buffer.from(signCommitment(key, seven), 'base64url').toString('hex')
  assert.ok(hex.includes('1b00000001a13b8600'), hex)
})

test('lock statement: other keys, changed bytes, other shapes and rubbish are refused', () => {
  const text = signCommitment(key, seven)
  const refused = (statement: string, problem: RegExp, by = key.publicKey): void =>
    assert.throws(() => verifyCommitment(statement, by), { code: 'lockInvalid', message: problem })
  refused(text, /not of this device/, newKeyPair().publicKey)
  const bytes = Buffer.from(text, 'base64url')
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes)
    changed[at] ^= 1
    assert.throws(
      () => verifyCommitment(changed.toString('base64url'), key.publicKey),
      { code: 'lockInvalid' },
      `byte ${at}`,
    )
  }
  for (const rubbish of ['', 'AAAA', text.slice(0, 40), Buffer.from(encodeCbor([1, 2])).toString('base64url')])
    refused(rubbish, /not CBOR of two byte strings/)
  const signed = (fields: unknown[]): string => {
    const body = encodeCbor(fields)
    return Buffer.from(
      encodeCbor([body, signBytes(key, Buffer.concat([Buffer.from('meshnet-resource-lock-v1\0'), body]))]),
    ).toString('base64url')
  }
  refused(signed([2, key.publicKey, 1, 0, 1, 1, 1]), /version 2/)
  refused(signed([1, newKeyPair().publicKey, 1, 0, 1, 1, 1]), /another device/)
  for (const fields of [
    [1, key.publicKey, 0, 0, 1, 1, 1],
    [1, key.publicKey, 1, 9, 1, 1, 1],
    [1, key.publicKey, 1, 0, -1, 1, 1],
    [1, key.publicKey, 1, 0, 1, 'x', 1],
    [1, key.publicKey, 1, 0, 2 ** 51, 1, 1],
  ])
    refused(signed(fields), /out of range/)
})
