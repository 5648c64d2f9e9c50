import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MeshError } from './errors.ts'
import { formatBytes, formatDuration, parseBytes, parseDuration } from './units.ts'

describe('units', () => {
  for (const [text, bytes] of [['0', 0], ['1024', 1024], ['7GB', 7e9], ['512 MiB', 512 * 2 ** 20], ['1.5kb', 1500], [' 2 TiB ', 2 * 2 ** 40]] as const) {
    it(`bytes: "${text}" is ${bytes}`, () => assert.equal(parseBytes(text), bytes))
  }
  for (const [text, ms] of [['250', 250], ['250ms', 250], ['5s', 5000], ['1.5m', 90_000], ['24h', 86_400_000], ['7d', 604_800_000]] as const) {
    it(`durations: "${text}" is ${ms} ms`, () => assert.equal(parseDuration(text), ms))
  }
  for (const text of ['', '-1s', '5 weeks', '1e3', 'GB', '1.s', '0x10', 'Infinity', '5 constructor']) {
    it(`neither size nor duration: "${text}"`, () => {
      const refused = (error: unknown): boolean => error instanceof MeshError && error.code === 'usage'
      assert.throws(() => parseBytes(text), refused)
      assert.throws(() => parseDuration(text), refused)
    })
  }
  for (const [bytes, text] of [[0, '0 B'], [999, '999 B'], [1000, '1 kB'], [12_900_000, '12.9 MB'], [999_600, '1 MB'], [1.5e12, '1.5 TB'], [123_456, '123 kB']] as const) {
    it(`bytes: ${bytes} is shown as ${text}`, () => assert.equal(formatBytes(bytes), text))
  }
  for (const [ms, text] of [[0, '0 ms'], [340.4, '340 ms'], [2100, '2.1 s'], [200_000, '3 m 20 s'], [3 * 3600e3 + 5 * 60e3, '3 h 5 m'], [119_900, '2 m 0 s'], [59_990, '1 m 0 s'], [999.7, '1.0 s'], [7199_900, '2 h 0 m']] as const) {
    it(`durations: ${ms} ms is shown as ${text}`, () => assert.equal(formatDuration(ms), text))
  }
})
