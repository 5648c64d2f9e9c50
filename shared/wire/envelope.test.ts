/** CBOR messages from peers: the good ones survive the way there and back, the others are named. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { TSchema } from 'typebox'
import {
  decodeCbor,
  encodeCbor,
  GateAnswer,
  GateMessage,
  LinkOffer,
  LinkVerdict,
  RelayAnswer,
  RelayProof,
  RenewalAnswer,
  RenewalRequest,
  RevocationMessage,
  RingAnswer,
  RingControl,
  RingHello,
} from './envelope.ts'
import { RingLinkTable } from '../schema/ring.ts'
import { limits } from '../limits.ts'
import vectors from './vectors/messages.json' with { type: 'json' }

const schemas: Readonly<Record<string, TSchema>> = {
  GateMessage,
  GateAnswer,
  RevocationMessage,
  RelayProof,
  RelayAnswer,
  RenewalRequest,
  RenewalAnswer,
  RingHello,
  RingAnswer,
  RingControl,
  LinkOffer,
  LinkVerdict,
}

for (const { name, schema, hex, value, error } of vectors) {
  test(`message vector: ${name}`, () => {
    const bytes = new Uint8Array(Buffer.from(hex, 'hex'))
    if (error) return assert.throws(() => decodeCbor(schemas[schema], bytes), { code: error })
    assert.deepEqual(decodeCbor(schemas[schema], bytes), value)
    assert.equal(Buffer.from(encodeCbor(value)).toString('hex'), hex)
  })
}

test('message: any bytes are a message or frameInvalid', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.constantFrom(...Object.values(schemas)), (bytes, schema) => {
      try {
        decodeCbor(schema, bytes)
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'frameInvalid', String(error))
      }
    }),
    { numRuns: 1000 },
  )
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
  const claims = [
    [0x5b, 0, 0, 0, 1, 0, 0, 0, 0],
    [0x9a, 0xff, 0xff, 0xff, 0xff],
    [0xba, 0xff, 0xff, 0xff, 0xff],
    [0x7a, 0x7f, 0xff, 0xff, 0xff],
    [0x9b, 0, 0, 0, 0, 0x40, 0, 0, 0],
    [0xd8, 0x40, 0x5a, 0x40, 0, 0, 0],
  ]
  const before = process.memoryUsage()
  for (const claim of claims)
    assert.throws(() => decodeCbor(RingControl, Uint8Array.from(claim)), { code: 'frameInvalid' }, claim.join())
  const after = process.memoryUsage()
  assert.ok(
    after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers < 64 * 2 ** 20,
    'less than 64 MiB',
  )
})

test('message: nesting without end is refused', () => {
  for (const opener of [0x81, 0xa1])
    assert.throws(() => decodeCbor(RingControl, new Uint8Array(limits.controlBytes).fill(opener)), {
      code: 'frameInvalid',
    })
})

test('message: the largest step and the largest table of links fit', () => {
  const sequences = Array.from({ length: 64 }, (_, slot) => ({
    slot,
    position: 131_072,
    tokens: Array.from({ length: 256 }, () => 200_000),
    logits: 'last',
  }))
  const step = { type: 'step', job: 2 ** 32 - 1, step: 2 ** 32 - 1, sequences }
  assert.ok(encodeCbor(step).length <= limits.controlBytes / 3)
  assert.deepEqual(decodeCbor(RingControl, encodeCbor(step)), step)
  const ranks = Array.from({ length: limits.worldSize }, (_, rank) => rank)
  const table = ranks.flatMap((from) =>
    ranks
      .slice(from + 1)
      .map((to) => ({ from, to, roundTripMs: 1.7, bytesPerSecond: 12_345_678.9, measured: true, path: 'relayed' })),
  )
  assert.equal(decodeCbor(RingLinkTable, encodeCbor(table)).length, table.length)
})

test('message: fields that nobody knows do not break an older reader', () => {
  const hello = { poolId: 'a'.repeat(64), ringId: 'r', epoch: 1, rank: 0, worldSize: 2, added: 'later' }
  assert.equal(decodeCbor(RingHello, encodeCbor(hello)).rank, 0)
})
