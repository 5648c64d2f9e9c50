import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MeshError } from './errors.ts'
import { newJobId, newRingId, parseDeviceId, parsePoolId, shortId } from './ids.ts'

const good = 'ab'.repeat(32)

describe('ids', () => {
  it('64 lower-case hex digits are a device id and a pool id', () => {
    assert.equal(parseDeviceId(good), good)
    assert.equal(parsePoolId(good), good)
    assert.equal(shortId(good), 'abababab')
  })

  for (const text of ['', 'ab', good.toUpperCase(), `${good}a`, `${good}\n`, `zz${good.slice(2)}`, '../'.repeat(21) + 'x']) {
    it(`not an id: ${JSON.stringify(text.slice(0, 20))} of ${text.length} characters`, () => {
      assert.throws(() => parsePoolId(text), (error: unknown) => error instanceof MeshError && error.code === 'usage')
      assert.throws(() => parseDeviceId(text), (error: unknown) => error instanceof MeshError && error.code === 'usage')
    })
  }

  it('a refused id is shown in part only', () => {
    assert.throws(() => parseDeviceId('x'.repeat(100_000)), (error: unknown) => (error as Error).message.length < 200)
  })

  it('ring and job ids say what they are and differ', () => {
    assert.match(newRingId(), /^ring_[0-9a-f]{16}$/)
    assert.match(newJobId(), /^job_[0-9a-f]{16}$/)
    assert.notEqual(newJobId(), newJobId())
  })
})
