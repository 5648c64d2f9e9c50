import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  decodeFrameHeader,
  dtypes,
  encodeFrameHeader,
  type FrameHeader,
  frameHeaderBytes,
  frameKinds,
  phases,
} from './frame.ts'
import { limits } from '../limits.ts'
import goodFrames from './vectors/frames.json' with { type: 'json' }

const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 })
const headers: fc.Arbitrary<FrameHeader> = fc.record({
  kind: fc.constantFrom(...Object.values(frameKinds)),
  dtype: fc.constantFrom(...Object.values(dtypes)),
  phase: fc.constantFrom(...Object.values(phases)),
  payloadBytes: fc.integer({ min: 0, max: limits.controlBytes }),
  epoch: u32,
  job: u32,
  step: u32,
  operation: u32,
  chunk: u32,
})

test('frame: a header is 48 bytes and survives the way there and back', () => {
  fc.assert(
    fc.property(headers, (header) => {
      const bytes = encodeFrameHeader(header)
      assert.equal(bytes.length, frameHeaderBytes)
      assert.deepEqual(decodeFrameHeader(bytes), { ...header })
    }),
  )
})

for (const { name, hex, header, error } of goodFrames) {
  test(`frame vector: ${name}`, () => {
    const bytes = new Uint8Array(Buffer.from(hex, 'hex'))
    if (header) {
      assert.deepEqual(decodeFrameHeader(bytes), { ...header })
      assert.equal(Buffer.from(encodeFrameHeader(header as FrameHeader)).toString('hex'), hex)
    } else assert.throws(() => decodeFrameHeader(bytes), { code: error })
  })
}

test('frame: any 48 bytes are a header or a MeshError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 48, maxLength: 48 }), (bytes) => {
      try {
        decodeFrameHeader(bytes)
      } catch (error) {
        assert.equal((error as Error).name, 'MeshError')
      }
    }),
    { numRuns: 500 },
  )
})
