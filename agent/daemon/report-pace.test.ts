import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Loading } from '../../shared/schema/ring.ts'
import { ReportPace } from './report-pace.ts'

const at = (
  bytes: number,
  phase: Loading['phase'] = 'quantising',
  missing?: number[],
): { progress: number; loading: Loading } => ({
  progress: 0.2 + bytes / 2e9,
  loading: { phase, bytes, totalBytes: 1e9, ...(missing ? { missing } : {}) },
})

test('report pace: steps, phases and links are told at once, other bytes every few seconds, and nothing twice', () => {
  let now = 0
  const pace = new ReportPace(() => now)
  const due = (after: number, ...rest: Parameters<typeof at>): boolean => {
    now += after
    return pace.isDue('r', 'loading', at(...rest))
  }
  assert.ok(due(0, 1))
  assert.ok(!due(0, 1))
  assert.ok(!due(2999, 2e6))
  assert.ok(due(1, 3e6))
  assert.ok(!due(60_000, 3e6), 'it stands still')
  assert.ok(due(0, 4e6), 'and moves')
  assert.ok(due(0, 1.5e8), 'a step of the bar')
  assert.ok(due(0, 1.5e8, 'hashing'))
  assert.ok(due(0, 1e9, 'linking', [1, 2]))
  assert.ok(!due(9999, 1e9, 'linking', [1, 2]))
  assert.ok(due(0, 1e9, 'linking', [2]))
  assert.ok(pace.isDue('r', 'ready', { progress: 1 }))
  assert.ok(!pace.isDue('r', 'ready', { progress: 1 }))
  assert.ok(pace.isDue('other', 'ready', { progress: 1 }))
  pace.forget('r')
  assert.ok(pace.isDue('r', 'ready', { progress: 1 }))
})

test('report pace: ten thousand pieces within a minute are forty messages at most', () => {
  let now = 0
  const pace = new ReportPace(() => now)
  let sent = 0
  for (let piece = 0; piece < 10_000; piece++, now += 6) if (pace.isDue('r', 'loading', at(piece * 1e5))) sent++
  assert.ok(sent >= 20 && sent <= 40, String(sent))
})
