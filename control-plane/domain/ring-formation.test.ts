import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decideRing, type MemberReport, type RingInput } from './ring-formation.ts'

const wish = (deviceId: string, online = true, offlineSince = 0): RingInput['wishes'][number] => ({ deviceId, name: deviceId.toUpperCase(), online, offlineSince })
const ready = (...ids: string[]): Map<string, MemberReport> => new Map(ids.map((id) => [id, { state: 'ready' }]))
const failed = (code: string): MemberReport => ({ state: 'failed', error: { code, message: `${code} happened` } })
const base: RingInput = { wishes: [], current: [], reports: new Map(), busy: false, now: 1000, graceMs: 100, retryAt: 0 }

const table: readonly [name: string, change: Partial<RingInput>, want: object][] = [
  ['nobody wants to serve', {}, { action: 'wait', reason: 'no device serves this model' }],
  ['nobody is online', { wishes: [wish('a', false), wish('b', false)] }, { action: 'wait', reason: 'no device is online; A and B would serve it' }],
  ['the first epoch', { wishes: [wish('a'), wish('b', false)] }, { action: 'form', members: ['a'] }],
  ['all ready', { wishes: [wish('a'), wish('b')], current: ['a', 'b'], reports: ready('a', 'b') }, { action: 'activate' }],
  ['one still loads', { wishes: [wish('a'), wish('b')], current: ['a', 'b'], reports: ready('a') }, { action: 'wait', reason: 'B is loading' }],
  ['a newcomer', { wishes: [wish('a'), wish('b')], current: ['a'], reports: ready('a') }, { action: 'form', members: ['a', 'b'] }],
  ['a newcomer while a job runs', { wishes: [wish('a'), wish('b')], current: ['a'], reports: ready('a'), busy: true }, { action: 'wait', reason: 'a job runs' }],
  ['a loss within the grace time', { wishes: [wish('a'), wish('b', false, 950)], current: ['a', 'b'], reports: ready('a') }, { action: 'wait', reason: 'waiting for B', again: 1050 }],
  ['a loss after it', { wishes: [wish('a'), wish('b', false, 800)], current: ['a', 'b'], reports: ready('a') }, { action: 'form', members: ['a'] }],
  ['a member that left', { wishes: [wish('b')], current: ['a', 'b'], reports: ready('a', 'b') }, { action: 'form', members: ['b'] }],
  ['a broken link', { wishes: [wish('a'), wish('b')], current: ['a', 'b'], reports: new Map([['a', failed('peerLost')]]) }, { action: 'form', members: ['a', 'b'] }],
  ['a broken link, too soon', { wishes: [wish('a'), wish('b')], current: ['a', 'b'], reports: new Map([['a', failed('peerLost')]]), retryAt: 2000 }, { action: 'wait', reason: 'forming again: peerLost happened', again: 2000 }],
  ['a failure that stays', { wishes: [wish('a'), wish('b')], current: ['a', 'b'], reports: new Map([['b', failed('modelMismatch')]]) }, { action: 'wait', reason: 'B: modelMismatch happened' }],
]

for (const [name, change, want] of table) {
  test(`ring formation: ${name}`, () => {
    assert.deepEqual(decideRing({ ...base, ...change }), want)
  })
}
