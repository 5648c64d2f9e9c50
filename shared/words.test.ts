import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { errorTable, type ErrorCode, MeshError } from './errors.ts'
import { formatBytes, formatDuration, formatTime, inWords } from './words.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const [second, minute, hour, day] = [1e3, 60e3, 3600e3, 86_400e3]

describe('words', () => {
  for (const [bytes, text] of [
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1 kB'],
    [12_900_000, '12.9 MB'],
    [999_600, '1 MB'],
    [1.5e12, '1.5 TB'],
    [123_456, '123 kB'],
    [100_000, '100 kB'],
    [99_950, '100 kB'],
    [999_400, '999 kB'],
    [2 ** 50, '1.13 PB'],
    [999_500, '1 MB'],
    [2e18, '2000 PB'],
  ] as const)
    it(`${bytes} bytes are ${text}`, () => assert.equal(formatBytes(bytes), text))

  for (const [ms, text] of [
    [0, '0 ms'],
    [340.4, '340 ms'],
    [999.4, '999 ms'],
    [999.5, '1 s'],
    [999.7, '1 s'],
    [2100, '2.1 s'],
    [5 * second, '5 s'],
    [59.94 * second, '59.9 s'],
    [59_950, '1 min'],
    [59_990, '1 min'],
    [119_900, '2 min'],
    [200_000, '3 min 20 s'],
    [hour - 600, '59 min 59 s'],
    [hour, '1 h'],
    [3 * hour + 5 * minute, '3 h 5 min'],
    [7_199_900, '2 h'],
    [day, '24 h'],
    [day - 2 * second, '24 h'],
    [day - 31 * second, '23 h 59 min'],
    [2 * day - minute, '47 h 59 min'],
    [2 * day, '2 d'],
    [7 * day - 5 * second, '7 d'],
    [7 * day - 2 * hour, '6 d 22 h'],
    [90 * day, '90 d'],
  ] as const)
    it(`${ms} ms are ${text}`, () => assert.equal(formatDuration(ms), text))

  it('a time is in UTC, to the minute', () =>
    assert.equal(formatTime(Date.UTC(2027, 0, 31, 9, 5, 59)), '2027-01-31 09:05 UTC'))

  it('a field is told by what its name says', () => {
    for (const [name, value, text] of [
      ['waitMs', 300, '300 ms'],
      ['seconds', 90, '1 min 30 s'],
      ['retryAfterSeconds', 3600, '1 h'],
      ['limitBytes', 4e6, '4 MB'],
      ['bytes', 5, '5 B'],
      ['notAfter', 0, '1970-01-01 00:00 UTC'],
      ['expiresAt', 60e3, '1970-01-01 00:01 UTC'],
      ['rank', 3, '3'],
      ['what', 2, '2'],
      ['seconds', '90', '90'],
      ['at', 5, '5'],
      ['seconds', NaN, 'NaN'],
    ] as const)
      assert.equal(inWords(name, value), text, name)
  })

  it('nobody writes seconds, milliseconds or dates by hand', () => {
    // what is no message: this module, and the JSON lines of logs
    const others = new Set(['shared/words.ts', 'agent/cli/commands/logs.ts'])
    const byHand = /\/ 1000\)?\} s\b|Ms\} ms\b|toISOString\(\)/
    const found = ['agent', 'control-plane', 'relay-server', 'shared']
      .flatMap((folder) => globSync(`${folder}/**/*.ts`, { cwd: root }))
      .filter(
        (file) =>
          !/\.test\.ts$|\/test\//.test(file) &&
          !others.has(file) &&
          byHand.test(readFileSync(join(root, file), 'utf8')),
      )
    assert.deepEqual(found, [])
  })

  it('no error has a unit behind a number of its table', () => {
    for (const [code, { text, hint }] of Object.entries(errorTable))
      assert.doesNotMatch(`${text} ${hint}`, /\} (?:s|ms|bytes)\b/, code)
  })

  it('every error that holds a duration, a size or a time tells it in words', () => {
    const values = {
      seconds: 7200,
      retryAfterSeconds: 7200,
      waitMs: 7200e3,
      notAfter: 0,
      expiresAt: 0,
      gotBytes: 5e9,
      limitBytes: 4e9,
    }
    for (const code of Object.keys(errorTable) as ErrorCode[]) {
      const { message, hint } = new MeshError(code, values)
      assert.doesNotMatch(`${message} ${hint}`, /\d{4,}(?!-\d\d)/, code)
    }
    assert.equal(new MeshError('jobTimeout', { seconds: 0.3, why: '' }).message, 'the job waited 300 ms for a ring')
    assert.equal(
      new MeshError('inviteExpired', { notAfter: Date.UTC(2027, 0, 31) }).message,
      'the invite expired at 2027-01-31 00:00 UTC',
    )
  })
})
