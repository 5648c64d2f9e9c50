import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MeshError } from './errors.ts'
import { longestTimerMs, parseBytes, parseDuration } from './units.ts'

describe('units', () => {
  for (const [text, bytes] of [
    ['0', 0],
    ['1024', 1024],
    ['7GB', 7e9],
    ['512 MiB', 512 * 2 ** 20],
    ['1.5kb', 1500],
    [' 2 TiB ', 2 * 2 ** 40],
  ] as const) {
    it(`bytes: "${text}" is ${bytes}`, () => assert.equal(parseBytes(text), bytes))
  }
  for (const [text, ms] of [
    ['250', 250],
    ['250ms', 250],
    ['5s', 5000],
    ['1.5m', 90_000],
    ['3 min', 180_000],
    ['24h', 86_400_000],
    ['7d', 604_800_000],
  ] as const) {
    it(`durations: "${text}" is ${ms} ms`, () => assert.equal(parseDuration(text), ms))
  }
  for (const text of ['', '-1s', '5 weeks', '1e3', 'GB', '1.s', '0x10', 'Infinity', '5 constructor']) {
    it(`neither size nor duration: "${text}"`, () => {
      const refused = (error: unknown): boolean => error instanceof MeshError && error.code === 'usage'
      assert.throws(() => parseBytes(text), refused)
      assert.throws(() => parseDuration(text), refused)
    })
  }

  it('the longest timer is the largest that Node does not take for one millisecond', () => {
    assert.equal(longestTimerMs, 2_147_483_647)
  })
})
