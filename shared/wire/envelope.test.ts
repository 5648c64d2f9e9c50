/** CBOR messages from peers: the good ones survive the way there and back, the others are named. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { TSchema } from 'typebox'
import { decodeCbor, encodeCbor, GateAnswer, GateMessage, LinkOffer, LinkVerdict, RelayAnswer, RelayProof, RenewalAnswer, RenewalRequest, RevocationMessage, RingAnswer, RingControl, RingHello } from './envelope.ts'
import { limits } from './limits.ts'
import vectors from './vectors/messages.json' with { type: 'json' }

const schemas: Readonly<Record<string, TSchema>> = { GateMessage, GateAnswer, RevocationMessage, RelayProof, RelayAnswer, RenewalRequest, RenewalAnswer, RingHello, RingAnswer, RingControl, LinkOffer, LinkVerdict }

for (const { name, schema, hex, value, error } of vectors) {
  test(`message vector: ${name}`, () => {
    const bytes = new Uint8Array(Buffer.from(hex, 'hex'))
    if (error) return assert.throws(() => decodeCbor(schemas[schema], bytes), { code: error })
    assert.deepEqual(decodeCbor(schemas[schema], bytes), value)
    assert.equal(Buffer.from(encodeCbor(value)).toString('hex'), hex)
  })
}

test('message: any bytes are a message or frameInvalid', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), fc.constantFrom(...Object.values(schemas)), (bytes, schema) => {
    try {
      decodeCbor(schema, bytes)
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'frameInvalid', String(error))
    }
  }), { numRuns: 1000 })
})

test('message: a good one with any byte changed is a message or frameInvalid', () => {
  const good = encodeCbor(vectors.find(({ name }) => name === 'step of a prompt')?.value)
  for (let at = 0; at < good.length; at++) {
    for (const bit of [1, 16, 128]) {
      const changed = Uint8Array.from(good)
      changed[at] ^= bit
      try {
        decodeCbor(RingControl, changed)
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'frameInvalid', `byte ${at}: ${String(error)}`)
      }
    }
  }
})

test('message: lengths that a few bytes claim take no memory', () => {
  const claims = [[0x5b, 0, 0, 0, 1, 0, 0, 0, 0], [0x9a, 0xff, 0xff, 0xff, 0xff], [0xba, 0xff, 0xff, 0xff, 0xff], [0x7a, 0x7f, 0xff, 0xff, 0xff], [0x9b, 0, 0, 0, 0, 0x40, 0, 0, 0], [0xd8, 0x40, 0x5a, 0x40, 0, 0, 0]]
  const before = process.memoryUsage()
  for (const claim of claims) assert.throws(() => decodeCbor(RingControl, Uint8Array.from(claim)), { code: 'frameInvalid' }, claim.join())
  const after = process.memoryUsage()
  assert.ok(after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers < 64 * 2 ** 20, 'less than 64 MiB')
})

test('message: nesting without end is refused', () => {
  for (const opener of [0x81, 0xa1]) assert.throws(() => decodeCbor(RingControl, new Uint8Array(limits.controlBytes).fill(opener)), { code: 'frameInvalid' })
})

test('message: a prompt of the greatest length fits a control message', () => {
  const step = { type: 'step', job: 1, step: 0, sequences: [{ slot: 0, position: 0, tokens: Array.from({ length: limits.promptLength / 4 }, () => 200_000), logits: 'last' }] }
  const bytes = encodeCbor(step)
  assert.ok(bytes.length <= limits.controlBytes, `${bytes.length} bytes`)
  assert.deepEqual(decodeCbor(RingControl, bytes), step)
})

test('message: fields that nobody knows do not break an older reader', () => {
  const hello = { poolId: 'a'.repeat(64), ringId: 'r', epoch: 1, rank: 0, worldSize: 2, added: 'later' }
  assert.equal(decodeCbor(RingHello, encodeCbor(hello)).rank, 0)
})
