import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { decideRing, type MemberReport, type RingInput, type IntentState } from './ring-formation.ts'

const misfit = new MeshError('ringTooLarge', { device: 'B' })
const intent = (deviceId: string, change: Partial<IntentState> = {}): IntentState => ({
  deviceId,
  name: deviceId.toUpperCase(),
  share: 1,
  available: true,
  awaitedUntil: 0,
  moved: false,
  ...change,
})
const away = (deviceId: string, awaitedUntil = 0): IntentState => intent(deviceId, { available: false, awaitedUntil })
const members = (...ids: string[]): RingInput['current'] => ids.map((deviceId) => ({ deviceId, share: 1 }))
const ready = (...ids: string[]): Map<string, MemberReport> => new Map(ids.map((id) => [id, { state: 'ready' }]))
const failed = (code: string): MemberReport => ({ state: 'failed', error: { code, message: `${code} happened` } })
const change = (...ids: string[]): object => ({ action: 'form', cause: 'change', members: ids })
/** Left out, and tried again at that time. */
const out = (deviceId: string, until: number, canTry = true): IntentState =>
  intent(deviceId, { leftOut: { until, canTry, problem: 'it failed' } })
/** The model needs so many devices. */
const needs =
  (count: number) =>
  (intents: readonly IntentState[]): MeshError | undefined =>
    intents.length < count ? misfit : undefined
const base: RingInput = { intents: [], current: [], reports: new Map(), busy: false, now: 1000, retryAt: 0 }

const both = { intents: [intent('a'), intent('b')], current: members('a', 'b') }
const many = Array.from({ length: limits.worldSize + 2 }, (_, index) => `d${String(index).padStart(3, '0')}`)

const table: readonly [name: string, change: Partial<RingInput>, want: object][] = [
  ['nobody wants to serve', {}, { action: 'dissolve' }],
  ['nobody wants to serve while a job runs', { busy: true }, { action: 'wait', reason: 'a job runs' }],
  [
    'nobody is online',
    { intents: [away('a'), away('b')] },
    { action: 'wait', reason: 'no device is online; A and B would serve it' },
  ],
  [
    'all that are online are no members any more',
    { intents: [{ ...away('a'), online: true }, away('b')] },
    { action: 'wait', reason: "A is online, but its membership of the pool is over: an admin's agent renews it" },
  ],
  ['the first epoch', { intents: [intent('a'), away('b')] }, change('a')],
  ['all ready', { ...both, reports: ready('a', 'b') }, { action: 'activate' }],
  ['one still loads', { ...both, reports: ready('a') }, { action: 'wait', reason: 'B is loading' }],
  ['both still load', both, { action: 'wait', reason: 'A and B are loading' }],
  ['a newcomer', { ...both, current: members('a'), reports: ready('a') }, change('a', 'b')],
  [
    'a newcomer just after another',
    { ...both, current: members('a'), reports: ready('a'), retryAt: 1100 },
    { action: 'wait', reason: 'forming again soon', again: 1100 },
  ],
  [
    'a newcomer, just when the pause is over',
    { ...both, current: members('a'), reports: ready('a'), retryAt: 1000 },
    change('a', 'b'),
  ],
  [
    'one without room is away',
    { intents: [{ ...away('a'), noRoom: misfit }] },
    { action: 'wait', reason: 'no device is online; A would serve it' },
  ],
  [
    'a newcomer while a job runs',
    { ...both, current: members('a'), reports: ready('a'), busy: true },
    { action: 'wait', reason: 'a job runs' },
  ],
  [
    'a job that runs on, seen after a restart',
    { ...both, reports: ready('a', 'b'), busy: true },
    { action: 'activate' },
  ],
  [
    'another share',
    { intents: [intent('a'), intent('b', { share: 2 })], current: members('a', 'b'), reports: ready('a', 'b') },
    change('a', 'b'),
  ],
  [
    'a loss within the grace time',
    { intents: [intent('a'), away('b', 1050)], current: members('a', 'b'), reports: ready('a') },
    { action: 'wait', reason: 'waiting for B', again: 1050 },
  ],
  [
    'a loss after it',
    { intents: [intent('a'), away('b', 900)], current: members('a', 'b'), reports: ready('a') },
    change('a'),
  ],
  [
    'a loss while a job runs',
    { intents: [intent('a'), away('b', 900)], current: members('a', 'b'), reports: ready('a'), busy: true },
    { action: 'wait', reason: 'a job runs' },
  ],
  [
    'a device that is away and was never a member',
    { intents: [intent('a'), away('b', 1050)], current: members('a'), reports: ready('a') },
    { action: 'activate' },
  ],
  ['a member that left', { intents: [intent('b')], current: members('a', 'b'), reports: ready('a', 'b') }, change('b')],
  ['the last member left', { current: members('a') }, { action: 'dissolve' }],
  [
    'the last member left while a job runs',
    { current: members('a'), busy: true },
    { action: 'wait', reason: 'a job runs' },
  ],
  [
    'a member that was started again',
    { intents: [intent('a'), intent('b', { moved: true })], current: members('a', 'b'), reports: ready('a') },
    change('a', 'b'),
  ],
  [
    'one more address of a member that works',
    { intents: [intent('a'), intent('b', { moved: true })], current: members('a', 'b'), reports: ready('a', 'b') },
    { action: 'activate' },
  ],
  [
    'a broken link',
    { ...both, reports: new Map([['a', failed('peerLost')]]) },
    { action: 'form', cause: 'failure', members: ['a', 'b'] },
  ],
  [
    'a broken link, too soon',
    { ...both, reports: new Map([['a', failed('peerLost')]]), retryAt: 2000 },
    { action: 'wait', reason: 'forming again: A: peerLost happened', again: 2000 },
  ],
  [
    'a failure that stays, before the member is left out',
    { ...both, reports: new Map([['b', failed('modelMismatch')]]), retryAt: 2000 },
    { action: 'wait', reason: 'forming again: B: modelMismatch happened', again: 2000 },
  ],
  [
    'one that is left out',
    { intents: [intent('a'), out('b', 9000)], current: members('a', 'b'), reports: ready('a') },
    change('a'),
  ],
  [
    'one that is left out while a job runs',
    { intents: [intent('a'), out('b', 9000)], current: members('a', 'b'), reports: ready('a', 'b'), busy: true },
    { action: 'wait', reason: 'a job runs' },
  ],
  [
    'the others of one that is left out are ready',
    { intents: [intent('a'), out('b', 9000)], current: members('a'), reports: ready('a') },
    { action: 'activate' },
  ],
  ['rank 0 is left out', { intents: [out('a', 9000), intent('b')], current: members('a', 'b') }, change('b')],
  [
    'two are left out',
    { intents: [out('a', 9000), intent('b'), out('c', 9000)], current: members('a', 'b', 'c') },
    change('b'),
  ],
  [
    'all are left out',
    { intents: [out('a', 9000), out('b', 9500)], current: members('a', 'b') },
    { action: 'wait', reason: 'A: it failed; B: it failed' },
  ],
  [
    'the only one is left out',
    { intents: [out('a', 9000)], current: members('a') },
    { action: 'wait', reason: 'A: it failed' },
  ],
  [
    'the only one is due',
    { intents: [out('a', 900)], current: members('a'), reports: new Map([['a', failed('diskFull')]]) },
    change('a'),
  ],
  ['the only one that is there is due', { intents: [out('a', 1000), away('b')], current: members('a') }, change('a')],
  [
    'a due one shows first that it can load',
    { intents: [intent('a'), out('b', 900)], current: members('a'), reports: ready('a') },
    { action: 'activate' },
  ],
  [
    'a due one that cannot show it',
    { intents: [intent('a'), out('b', 900, false)], current: members('a'), reports: ready('a') },
    change('a', 'b'),
  ],
  [
    'one that cannot show it, on time',
    { intents: [intent('a'), out('b', 1000, false)], current: members('a'), reports: ready('a') },
    change('a', 'b'),
  ],
  [
    'one that cannot show it, before its time',
    { intents: [intent('a'), out('b', 1001, false)], current: members('a'), reports: ready('a') },
    { action: 'activate' },
  ],
  [
    'the others are not enough',
    { intents: [intent('a'), out('b', 9000)], current: members('a', 'b'), misfitOf: needs(2) },
    { action: 'wait', reason: misfit.message, misfit },
  ],
  [
    'the others are not enough, and it is due',
    { intents: [intent('a'), out('b', 900)], current: members('a', 'b'), misfitOf: needs(2) },
    change('a', 'b'),
  ],
  [
    'not enough with it either',
    { intents: [intent('a'), out('b', 900)], current: members('a'), reports: ready('a'), misfitOf: needs(3) },
    { action: 'activate' },
  ],
  [
    'not enough with it either, and nobody is ready',
    { intents: [intent('a'), out('b', 900)], misfitOf: needs(3) },
    { action: 'wait', reason: misfit.message, misfit },
  ],
  [
    'not enough, and one holds more than it locked',
    { intents: [intent('a', { overfull: true }), out('b', 9000)], current: members('a'), misfitOf: needs(2) },
    { action: 'withdraw', misfit },
  ],
  [
    'one that is left out and away is not waited for',
    { intents: [intent('a'), { ...out('b', 9000), available: false, awaitedUntil: 1050 }], current: members('a', 'b') },
    change('a'),
  ],
  [
    'one that is left out, beside one without room',
    { intents: [intent('a', { noRoom: misfit }), out('b', 9000)] },
    { action: 'wait', reason: 'B: it failed' },
  ],
  [
    'a newcomer without room stays out',
    { intents: [intent('a'), intent('b', { noRoom: misfit })], current: members('a'), reports: ready('a') },
    { action: 'activate' },
  ],
  [
    'a member that lost its room goes',
    { intents: [intent('a'), intent('b', { noRoom: misfit })], current: members('a', 'b'), reports: ready('a', 'b') },
    change('a'),
  ],
  [
    'no device has room',
    { intents: [intent('b', { noRoom: misfit })] },
    { action: 'wait', reason: misfit.message, misfit },
  ],
  [
    'the last member lost its room',
    { intents: [intent('b', { noRoom: misfit })], current: members('b'), reports: ready('b') },
    { action: 'withdraw', misfit },
  ],
  [
    'a member holds more than it locked',
    { ...both, intents: [intent('a'), intent('b', { overfull: true })], reports: ready('a', 'b') },
    change('a', 'b'),
  ],
  [
    'a member holds more than it locked, while a job runs',
    { ...both, intents: [intent('a'), intent('b', { overfull: true })], reports: ready('a', 'b'), busy: true },
    { action: 'activate' },
  ],
  [
    'more devices than a ring can have',
    { intents: many.map((id) => intent(id)) },
    change(...many.slice(0, limits.worldSize)),
  ],
]

for (const [name, difference, want] of table) {
  test(`ring formation: ${name}`, () => {
    assert.deepEqual(decideRing({ ...base, ...difference }), want)
  })
}
