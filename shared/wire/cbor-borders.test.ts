/** The largest that is read of each kind, and the first that is not. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { limits } from '../limits.ts'
import { scanCbor } from './cbor-scan.ts'

const head = (major: number, count: number): number[] => [(major << 5) | 25, count >> 8, count & 255]
const key = (length: number, first = 0x61): number[] => [...head(3, length), first, ...Array(length - 1).fill(0x61)]
const map = (...keys: number[][]): number[] => [...head(5, keys.length), ...keys.flatMap((one) => [...one, 0])]
const numbered = (count: number): number[][] => Array.from({ length: count }, (_, index) => key(2, index))
const u64 = (value: bigint): number[] => [...Buffer.from(value.toString(16).padStart(16, '0'), 'hex')]
const largest = BigInt(Number.MAX_SAFE_INTEGER)

const borders: Readonly<Record<string, readonly [last: number[], first: number[], said: RegExp]>> = {
  items: [
    [...head(4, limits.cborItems - 1), ...Array(limits.cborItems - 1).fill(0)],
    [...head(4, limits.cborItems), ...Array(limits.cborItems).fill(0)],
    /more than 32768 items/,
  ],
  'keys of a map': [map(...numbered(limits.cborKeys)), map(...numbered(limits.cborKeys + 1)), /more than 64 keys/],
  'bytes of its only key': [map(key(limits.cborKeyBytes)), map(key(limits.cborKeyBytes + 1)), /more than 64 bytes/],
  'bytes of one of its keys': [
    map(key(1), key(limits.cborKeyBytes)),
    map(key(1), key(limits.cborKeyBytes + 1)),
    /more than 64 bytes/,
  ],
  'a number': [[0x1b, ...u64(largest)], [0x1b, ...u64(largest + 1n)], /not exact/],
  'a negative number, which is -1 - n': [[0x3b, ...u64(largest - 1n)], [0x3b, ...u64(largest)], /not exact/],
  levels: [
    [...Array(limits.cborDepth).fill(0x81), 0],
    [...Array(limits.cborDepth + 1).fill(0x81), 0],
    /deeper than 16 levels/,
  ],
  'a half float': [[0xf9, 0x3c, 0], [0xf8, 0x3c], /simple value without a name/],
  'a double': [[0xfb, ...u64(0n)], [0xfc], /simple value without a name/],
  'named values': [[0x84, 0xf4, 0xf5, 0xf6, 0xf7], [0xf3], /simple value without a name/],
  'the end of text': [[0x62, 0x61, 0x61], [0x62, 0x61], /ends too early/],
  'the end of a list': [[0x82, 0, 0], [0x82, 0], /ends too early/],
  'the end of a map': [[0xa1, 0x61, 0x61, 0], [0xa1, 0x61, 0x61], /ends too early/],
  'the end of a float': [[0xfa, 0, 0, 0, 0], [0xfa, 0, 0, 0], /ends too early/],
}

for (const [what, [last, first, said]] of Object.entries(borders))
  test(`cbor: ${what}: read up to the border, refused behind it`, () => {
    scanCbor(Uint8Array.from(last))
    assert.throws(() => scanCbor(Uint8Array.from(first)), said)
  })

test('cbor: as many bytes as may be, and one more', () => {
  const text = (size: number): Uint8Array => {
    const bytes = Buffer.alloc(size, 0x61)
    bytes[0] = 0x7a
    bytes.writeUInt32BE(size - 5, 1)
    return bytes
  }
  scanCbor(text(limits.cborBytes))
  assert.throws(() => scanCbor(text(limits.cborBytes + 1)), { code: 'frameTooLarge' })
})
