/** What strangers and members may send as CBOR: refused or read in time that the bytes bound, whatever they are. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type TSchema, Type } from 'typebox'
import { MeshError } from '../errors.ts'
import { keyPairFromSeed } from '../identity/keys.ts'
import { decodeInvite } from '../identity/invite.ts'
import { verifyCommitment } from '../identity/lock-statement.ts'
import { verifyCertificate } from '../identity/pool-certificate.ts'
import { readRevocations } from '../identity/revocation-list.ts'
import { RingLinkTable } from '../schema/ring.ts'
import { scanCbor } from './cbor-scan.ts'
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
import { limits } from '../limits.ts'

const key = keyPairFromSeed(new Uint8Array(32).fill(7))

const u32 = (value: number): number[] => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255]
const head = (major: number, count: number): number[] => [(major << 5) | 26, ...u32(count)]
const text = (value: string): Buffer =>
  Buffer.concat([Uint8Array.of(...head(3, Buffer.byteLength(value))), Buffer.from(value)])

/** A head, and as many whole units behind it as `size` holds. */
const repeated = (size: number, major: number, unit: (index: number) => Uint8Array): Uint8Array => {
  const units: Uint8Array[] = []
  let bytes = 5
  for (let index = 0; ; index++) {
    const next = unit(index)
    if (bytes + next.length > size) break
    units.push(next)
    bytes += next.length
  }
  return Buffer.concat([Uint8Array.of(...head(major, units.length)), ...units])
}
const filled = (size: number, byte: number, ...first: number[]): Uint8Array =>
  Buffer.concat([Uint8Array.of(...first), Buffer.alloc(Math.max(0, size - first.length), byte)])
const long = (size: number, major: number, ...before: number[]): Uint8Array =>
  filled(size, 0x61, ...before, ...head(major, size - before.length - 5))

/** Inputs of that many bytes, each bad in its own way or just as large as it may be. */
const hostile: Readonly<Record<string, (size: number) => Uint8Array>> = {
  'a bignum': (size) => long(size, 2, 0xc2),
  'a negative bignum': (size) => long(size, 2, 0xc3),
  'many bignums': (size) => repeated(size, 4, () => filled(999, 0xff, 0xc2, 0x59, 0x03, 0xe3)),
  'a bignum as the value of a field': (size) =>
    Buffer.concat([Uint8Array.of(0xa1), text('list'), long(size - 10, 2, 0xc2)]),
  'a bignum inside a byte string': (size) =>
    Buffer.concat([Uint8Array.of(0x82), long(size - 4, 2, 0xc2), Uint8Array.of(0x40)]),
  'a date, a regular expression, a set': (size) =>
    repeated(size, 4, (index) =>
      Uint8Array.of(
        ...[
          [0xc1, 0],
          [0xd8, 27, 0x82, 0x61, 0x61, 0x60],
          [0xd9, 1, 2, 0x80],
        ][index % 3],
      ),
    ),
  'records of the library': (size) =>
    repeated(size, 4, () => Uint8Array.of(0xd9, 0xdf, 0xff, 0x82, 0x81, 0x61, 0x61, 0x00)),
  'references of the library': (size) => repeated(size, 4, () => Uint8Array.of(0xd8, 28, 0xd8, 29, 0x00)),
  'packed values of the library': (size) => long(size, 4, 0xd8, 51, 0x82),
  'typed arrays': (size) => long(size, 2, 0xd8, 0x40),
  'tags in tags': (size) => filled(size, 0xc1),
  'an array without length': (size) => filled(size, 0x00, 0x9f),
  'arrays without length in each other': (size) => filled(size, 0x9f),
  'a map without length': (size) => filled(size, 0x60, 0xbf),
  'bytes in pieces': (size) => filled(size, 0x40, 0x5f),
  'arrays in arrays': (size) => filled(size, 0x81),
  'maps in maps': (size) => repeated(size, 4, () => Uint8Array.of(0xa1, 0x61, 0x61)),
  'empty arrays': (size) => repeated(size, 4, () => Uint8Array.of(0x80)),
  'as many empty arrays as there may be': (size) =>
    repeated(Math.min(size, limits.cborItems), 4, () => Uint8Array.of(0x80)),
  'empty maps': (size) => repeated(size, 4, () => Uint8Array.of(0xa0)),
  'as many small maps as there may be': (size) =>
    repeated(Math.min(size, (limits.cborItems / 3) * 4), 4, (index) =>
      Uint8Array.of(0xa1, 0x61, 97 + (index % 26), 0x80),
    ),
  'as many maps of other keys as there may be': (size) =>
    repeated(Math.min(size, (limits.cborItems / 3) * 8), 4, (index) =>
      Uint8Array.of(0xa1, 0x64, ...Buffer.from(index.toString(36).padStart(4, '0').slice(0, 4)), 0x80),
    ),
  'small numbers': (size) => repeated(size, 4, () => Uint8Array.of(1)),
  'as many floats as there may be': (size) =>
    repeated(Math.min(size, limits.cborItems * 5), 4, () => Uint8Array.of(0xfa, 0x7f, 0x80, 0, 0)),
  'as many short strings as there may be': (size) =>
    repeated(Math.min(size, limits.cborItems * 3), 4, () => Uint8Array.of(0x62, 0xc3, 0xa4)),
  'a map of many keys': (size) => repeated(size, 5, (index) => Buffer.concat([text(String(index)), Uint8Array.of(0)])),
  'a key again and again': (size) => repeated(size, 5, () => Uint8Array.of(0x61, 0x61, 0)),
  'a long key': (size) => Buffer.concat([Uint8Array.of(0xa1), long(size - 2, 3), Uint8Array.of(0)]),
  'keys that are no text': (size) => repeated(size, 5, () => Uint8Array.of(0x80, 0)),
  'a long string': (size) => long(size, 3),
  'a long string of two bytes a character': (size) =>
    Buffer.concat([Uint8Array.of(...head(3, (size - 5) & ~1)), Buffer.from('ä'.repeat((size - 5) >> 1))]),
  'a long string that is no UTF-8': (size) => filled(size, 0xff, ...head(3, size - 5)),
  'a long byte string': (size) => long(size, 2),
  'a count that nothing follows': (size) => filled(size, 0x00, ...head(4, 0xffff_ffff)),
  'a length beyond all': (size) => filled(size, 0xff, 0x5b),
  'a step of many tokens': (size) =>
    Buffer.concat([
      encodeCbor({
        type: 'step',
        job: 1,
        step: 1,
        sequences: [{ slot: 0, position: 0, logits: 'last', tokens: 0 }],
      }).slice(0, -1),
      repeated(Math.min(size - 80, limits.cborItems - 40), 4, () => Uint8Array.of(1)),
    ]),
  'a step of many wrong tokens': (size) =>
    Buffer.concat([
      encodeCbor({
        type: 'step',
        job: 1,
        step: 1,
        sequences: [{ slot: 0, position: 0, logits: 'last', tokens: 0 }],
      }).slice(0, -1),
      repeated(Math.min(size - 80, limits.cborItems - 40), 4, () => Uint8Array.of(0x60)),
    ]),
  'a step of many sequences': (size) =>
    Buffer.concat([
      encodeCbor({ type: 'step', job: 1, step: 1, sequences: 0 }).slice(0, -1),
      repeated(Math.min(size - 40, limits.cborItems * 5), 4, () =>
        encodeCbor({ slot: 0, position: 0, logits: 'all', tokens: [] }),
      ),
    ]),
}

/** Where it may come in, and the most bytes that each place reads. */
const messages = (schema: TSchema, size: number): { readonly size: number; read(bytes: Uint8Array): unknown } => ({
  size,
  read: (bytes) => decodeCbor(schema, bytes),
})
const inText = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')
const bytesIn = (characters: number): number => Math.floor((characters * 3) / 4)
/** Each layer of a statement once: hostile outside, hostile inside. */
const inStatement = (bytes: Uint8Array): string => inText(encodeCbor([bytes, new Uint8Array(64)]))

const places: Readonly<Record<string, { readonly size: number; read(bytes: Uint8Array): unknown }>> = {
  'gate message': messages(GateMessage, limits.gateBytes),
  'gate answer': messages(GateAnswer, limits.gateBytes),
  'proof at a relay': messages(RelayProof, limits.gateBytes),
  'answer of a relay': messages(RelayAnswer, limits.gateBytes),
  'renewal request': messages(RenewalRequest, limits.gateBytes),
  'renewal answer': messages(RenewalAnswer, limits.gateBytes),
  'hello of a ring': messages(RingHello, limits.gateBytes),
  'answer of a ring': messages(RingAnswer, limits.gateBytes),
  'revocation message': messages(RevocationMessage, limits.revocationBytes + limits.gateBytes),
  'control frame': messages(RingControl, limits.controlBytes),
  'link offer': messages(LinkOffer, limits.framePayloadBytes),
  'link verdict': messages(LinkVerdict, limits.framePayloadBytes),
  'table of links': messages(RingLinkTable, limits.framePayloadBytes),
  'revocation list': {
    size: bytesIn(limits.revocationBytes),
    read: (bytes) => readRevocations(inText(bytes), key.publicKey, 0),
  },
  'body of a revocation list': {
    size: bytesIn(limits.revocationBytes) - 80,
    read: (bytes) => readRevocations(inStatement(bytes), key.publicKey, 0),
  },
  certificate: {
    size: bytesIn(2 * limits.certificateBytes),
    read: (bytes) => verifyCertificate(inText(bytes), key.publicKey, 0),
  },
  'body of a certificate': {
    size: bytesIn(2 * limits.certificateBytes) - 80,
    read: (bytes) => verifyCertificate(inStatement(bytes), key.publicKey, 0),
  },
  'lock statement': { size: limits.cborBytes, read: (bytes) => verifyCommitment(inText(bytes), key.publicKey) },
  invite: { size: 1400, read: (bytes) => decodeInvite(`mesh-invite:${inText(bytes)}`) },
}

/** Milliseconds of processor time that one message may cost. */
const budgetMs = 20
/** What is larger is refused by its length, and building 64 MiB byte by byte takes longer than all else here. */
const mostBytes = limits.cborBytes

/**
 * Milliseconds of processor time, the middle of some: a compiler that wakes up in between is not the decoder. Some
 * schemas take a step for their own.
 */
const costOf = (read: () => unknown): number => {
  const times = Array.from({ length: 3 }, () => {
    const before = process.cpuUsage()
    try {
      read()
    } catch (error) {
      assert.notEqual(MeshError.from(error).code, 'internal', String(error))
    }
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1000
  })
  return times.toSorted((a, b) => a - b)[1]
}

const made = new Map<string, Uint8Array>()
const madeOnce = (name: string, size: number): Uint8Array => {
  const known = made.get(`${name}/${size}`)
  if (known) return known
  const bytes = hostile[name](size)
  made.set(`${name}/${size}`, bytes)
  return bytes
}

for (const [place, { size, read }] of Object.entries(places)) {
  test(`hostile CBOR as ${place} costs less than ${budgetMs} ms`, () => {
    if (size > mostBytes) assert.throws(() => read(long(size, 2, 0xc2)), { code: 'frameTooLarge' })
    for (const name of Object.keys(hostile)) {
      const bytes = madeOnce(name, Math.min(size, mostBytes))
      const ms = costOf(() => read(bytes))
      assert.ok(ms < budgetMs, `${name}, ${bytes.length} bytes: ${ms} ms`)
    }
  })
}

const refusals: readonly (readonly [hex: string, problem: RegExp])[] = [
  ['', /ends too early/],
  ['c24100', /tag/],
  ['d9d9f700', /tag/],
  ['5f4100ff', /not given/],
  ['7fff', /not given/],
  ['9fff', /not given/],
  ['bfff', /not given/],
  ['ff', /not given/],
  ['1c', /reserved/],
  ['dc', /tag/],
  ['5d', /reserved/],
  ['f8ff', /without a name/],
  ['e0', /without a name/],
  ['fc', /without a name/],
  ['1b0020000000000000', /not exact/],
  ['3b001fffffffffffff', /not exact/],
  ['5bffffffffffffffff', /too early/],
  ['9bffffffffffffffff', /too early/],
  ['a2616101616102', /comes twice/],
  ['a10102', /not text/],
  ['a1800102', /not text/],
  ['0000', /behind/],
  ['8200', /too early/],
  ['a16161', /too early/],
  ['6261', /too early/],
  ['18', /too early/],
  ['fb00', /too early/],
  ['81'.repeat(16) + '80', /nested deeper/],
]

test('what is not CBOR of Mesh is refused, and why', () => {
  for (const [hex, problem] of refusals)
    assert.throws(() => scanCbor(Buffer.from(hex, 'hex')), { code: 'frameInvalid', message: problem }, hex)
})

test('what is just within the bounds is read', () => {
  for (const [hex, value] of [
    ['f4', false],
    ['f5', true],
    ['f6', null],
    ['f7', undefined],
    ['1b001fffffffffffff', Number.MAX_SAFE_INTEGER],
    ['3b001ffffffffffffe', Number.MIN_SAFE_INTEGER],
  ] as const) {
    scanCbor(Buffer.from(hex, 'hex'))
    const read = decodeCbor(Type.Any(), Buffer.from(hex, 'hex'))
    assert.equal(typeof read === 'bigint' ? Number(read) : read, value, hex)
  }
  const keys = (count: number): object => Object.fromEntries(Array.from({ length: count }, (_, at) => [`k${at}`, 0]))
  scanCbor(encodeCbor(keys(limits.cborKeys)))
  assert.throws(() => scanCbor(encodeCbor(keys(limits.cborKeys + 1))), { message: /a map has more than/ })
})

test('the same key in two maps, and a map beside a key of its name, are no duplicates', () => {
  for (const value of [[{ a: 1 }, { a: 2 }], { a: { a: { a: 1 } }, b: { a: 2 } }, { a: [{ b: 1 }, { b: 2 }], b: 3 }]) {
    assert.deepEqual(decodeCbor(Type.Any(), encodeCbor(value)), value)
  }
})

const json = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 5 },
    fc.constantFrom(null, true, false),
    fc.integer(),
    fc.maxSafeInteger().map((value) => (Math.abs(value) < 2 ** 32 ? value : Math.fround(value))),
    fc.double().map((value) => value + 0),
    fc.string({ unit: 'grapheme' }),
    fc.array(tie('value'), { maxLength: 30 }),
    fc.dictionary(
      fc.string({ maxLength: 12, unit: 'grapheme' }).filter((name) => name !== '__proto__'),
      tie('value'),
      { maxKeys: 20, noNullPrototype: true },
    ),
  ),
})).value

test('everything that the encoder writes of plain values is read again as it was', () => {
  fc.assert(
    fc.property(json, (value) => assert.deepEqual(decodeCbor(Type.Any(), encodeCbor(value)), value)),
    { numRuns: 500 },
  )
})

/** Nothing but what a JSON value may be, bytes, `undefined`, and whole numbers of 64 bits that a number holds. */
const isPlain = (value: unknown): boolean => {
  if (value === null || ['string', 'number', 'boolean', 'undefined'].includes(typeof value)) return true
  if (typeof value === 'bigint') return BigInt(Number(value)) === value
  if (Array.isArray(value)) return value.every(isPlain)
  return (
    value instanceof Uint8Array ||
    (Object.getPrototypeOf(value) === Object.prototype && Object.values(value as object).every(isPlain))
  )
}

test('any bytes are refused as frameInvalid, or become plain values', () => {
  const item = fc.oneof(
    fc.uint8Array({ maxLength: 60 }),
    fc.tuple(json, fc.nat(), fc.nat(255)).map(([value, at, byte]) => {
      const bytes = Uint8Array.from(encodeCbor(value))
      bytes[at % bytes.length] = byte
      return bytes
    }),
  )
  let read = 0
  fc.assert(
    fc.property(item, (bytes) => {
      try {
        assert.ok(isPlain(decodeCbor(Type.Any(), bytes)))
        read++
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'frameInvalid', String(error))
      }
    }),
    { numRuns: 5000 },
  )
  assert.ok(read > 500, `${read} were read`)
})
