/** The bytes themselves: what is signed and what other implementations read must not change by itself. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Type } from 'typebox'
import { limits } from '../limits.ts'
import { decodeCbor, encodeCbor, encodeInteger } from './envelope.ts'
import { decodeFrameHeader, dtypes, encodeFrameHeader, frameHeaderBytes, frameKinds, phases } from './frame.ts'

const hex = (value: unknown): string => Buffer.from(encodeCbor(value)).toString('hex')

test('cbor: maps have text for keys and bytes no tag; their heads are as short as can be', () => {
  assert.equal(hex({ a: 1, b: [true, null] }), 'a2616101616282f5f6')
  assert.equal(hex(Uint8Array.of(1, 2)), '420102')
  assert.equal(hex({}), 'a0')
})

test('cbor: whole numbers are integers, also beyond 32 bits', () => {
  const encoded = (value: number): string => hex(encodeInteger(value))
  assert.equal(encoded(2 ** 32 - 1), '1affffffff')
  assert.equal(encoded(2 ** 32), '1b0000000100000000')
  assert.equal(encoded(-(2 ** 32)), '3affffffff')
  assert.equal(encoded(-(2 ** 32) - 1), '3b0000000100000000')
  assert.equal(encoded(7), '07')
  assert.equal(typeof encodeInteger(7), 'number')
  assert.equal(typeof encodeInteger(-(2 ** 32)), 'number')
})

test('cbor: a refusal says which field, but not of what is large', () => {
  const schema = Type.Object({ text: Type.String({ maxLength: 10_000 }), count: Type.Integer({ minimum: 1 }) })
  const refusal = (value: unknown): string => {
    try {
      decodeCbor(schema, encodeCbor(value))
    } catch (error) {
      return (error as Error).message
    }
    return 'none'
  }
  assert.match(refusal({ text: '', count: 0 }), /\/count must be >= 1/)
  assert.match(refusal('no object'), /message must be object/)
  // a head of 2, keys of 5 and 6, a head of 3 and the number: the text is what is left of 4096
  const beside = encodeCbor({ text: 'x'.repeat(4000), count: 0 }).length - 4000
  assert.match(refusal({ text: 'x'.repeat(4096 - beside), count: 0 }), /\/count must be >= 1/)
  assert.match(refusal({ text: 'x'.repeat(4097 - beside), count: 0 }), /wrong fields/)
})

test('cbor: text that is no UTF-8 and a float that stands for nothing end in a refusal or a value, never in a crash', () => {
  for (const bytes of ['61ff', '62c328', 'f97e00', 'fb7ff0000000000000'])
    try {
      decodeCbor(Type.String(), Buffer.from(bytes, 'hex'))
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'frameInvalid', bytes)
    }
})

const header = {
  kind: frameKinds.tensor,
  dtype: dtypes.f32,
  phase: phases.reduceScatter,
  payloadBytes: 0,
  epoch: 1,
  job: 2,
  step: 3,
  operation: 4,
  chunk: 5,
}

test('frame: a payload may be as large as its kind allows, and its header is never shorter or longer', () => {
  for (const [kind, limit] of [
    [frameKinds.tensor, limits.framePayloadBytes],
    [frameKinds.control, limits.controlBytes],
  ] as const) {
    const bytes = (payloadBytes: number): Uint8Array => encodeFrameHeader({ ...header, kind, payloadBytes })
    assert.equal(decodeFrameHeader(bytes(limit)).payloadBytes, limit)
    assert.throws(() => decodeFrameHeader(bytes(limit + 1)), { code: 'frameTooLarge' })
  }
  const whole = encodeFrameHeader(header)
  assert.equal(whole.length, frameHeaderBytes)
  const longer = new Uint8Array(frameHeaderBytes + 1)
  longer.set(whole)
  for (const wrong of [longer, whole.subarray(0, -1)])
    assert.throws(() => decodeFrameHeader(wrong), /header of (47|49) bytes, want 48/)
})
