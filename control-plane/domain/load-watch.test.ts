import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Loading } from '../../shared/schema/ring.ts'
import { begunAnew, watched, watchFrom } from './load-watch.ts'

const total = 1e9
const at = (bytes: number, phase: Loading['phase'] = 'quantising', totalBytes = total): Loading => ({
  phase,
  bytes,
  totalBytes,
})
/** When it got on last, of reports that come a second after each other. */
const lastOf = (...reports: (Loading | undefined)[]): number =>
  reports.reduce((watch, loading, index) => watched(watch, loading, (index + 1) * 1000), watchFrom(0)).at

const table: readonly [name: string, reports: (Loading | undefined)[], last: number][] = [
  ['nothing is no progress', [undefined, undefined], 0],
  ['the first report', [at(0)], 1000],
  ['more bytes', [at(0), at(5e6)], 2000],
  ['the same bytes', [at(5e6), at(5e6)], 1000],
  ['fewer bytes', [at(5e6), at(1e6), at(4e6)], 1000],
  ['back and forth', [at(5e6), at(1e6), at(5e6), at(1e6), at(5e6)], 1000],
  ['beyond what was before, after it went back', [at(5e6), at(1e6), at(9e6)], 3000],
  ['a byte more', [at(5e6), at(5e6 + 1)], 1000],
  ['bytes one by one, until they are enough', [at(5e6), at(5e6 + 600_000), at(5e6 + 1_200_000)], 3000],
  ['a thousandth', [at(5e6), at(6e6)], 2000],
  ['less than a thousandth', [at(5e6), at(6e6 - 1)], 1000],
  ['a MiB of very much', [at(0, 'checking', 1e13), at(2 ** 20, 'checking', 1e13)], 2000],
  ['less than a MiB of very much', [at(0, 'checking', 1e13), at(2 ** 20 - 1, 'checking', 1e13)], 1000],
  ['a byte of few', [at(0, 'checking', 10), at(1, 'checking', 10)], 2000],
  ['nothing of nothing', [at(0, 'linking', 0), at(0, 'linking', 0)], 1000],
  ['the next phase', [at(total), at(0, 'hashing')], 2000],
  ['the same phase of something else', [at(5e6), at(0, 'quantising', 7)], 2000],
]

for (const [name, reports, last] of table) test(`load watch: ${name}`, () => assert.equal(lastOf(...reports), last))

test('load watch: who begins something else again and again gets on only so often', () => {
  const phases = ['checking', 'hashing'] as const
  const reports = Array.from({ length: 50 }, (_, index) => at(0, phases[index % 2]))
  assert.equal(lastOf(...reports), 20_000)
  let watch = watchFrom(0)
  for (let time = 1; time <= 50; time++) watch = begunAnew(watch, time)
  assert.deepEqual([watch.at, watch.begun], [20, 50])
})

test('load watch: who begins again after a restart has to get as far as before, or to another phase', () => {
  const watch = begunAnew(watched(watchFrom(0), at(8e8), 1), 5)
  assert.equal(watch.at, 5)
  assert.equal(watched(watch, at(1e8), 9).at, 5)
  assert.equal(watched(watch, at(1e8, 'checking'), 9).at, 9)
})
