import assert from 'node:assert/strict'
import { test } from 'node:test'
import { blamedForJob, faultOf, namedIn, worstLinked } from './blame.ts'

const members = ['a', 'b', 'c', 'd'].map((deviceId) => ({ deviceId }))
const error = (
  code: string,
  fields?: Record<string, string | number>,
): { code: string; message: string; fields?: Record<string, string | number> } => ({
  code,
  message: 'x',
  ...(fields ? { fields } : {}),
})

test('blame: what a member says of its epoch', () => {
  assert.equal(faultOf(error('diskFull')), 'own')
  assert.equal(faultOf(error('unheardOf')), 'own')
  assert.equal(faultOf(undefined), 'own')
  assert.equal(faultOf(error('backendFailed')), 'backend')
  assert.equal(faultOf(error('rankFailed')), 'backend')
  for (const code of [
    'peerLost',
    'peerUnreachable',
    'collectiveTimeout',
    'epochStale',
    'gateRefused',
    'peerInvalid',
    'peerFailed',
    'relayLost',
  ])
    assert.equal(faultOf(error(code)), 'link')
})

test('blame: an error names a member by its rank', () => {
  assert.equal(namedIn(members, error('peerLost', { rank: 2 })), 'c')
  for (const fields of [{ rank: 9 }, { rank: -1 }, { rank: '2' }, {}] as Record<string, string | number>[])
    assert.equal(namedIn(members, error('peerLost', fields)), undefined)
  assert.equal(namedIn(members, undefined), undefined)
})

const jobs: readonly [code: string, rank: number | undefined, want: ReturnType<typeof blamedForJob>][] = [
  ['rankFailed', 2, { deviceId: 'c', fault: 'job' }],
  ['rankFailed', undefined, { deviceId: 'a', fault: 'job' }],
  ['peerInvalid', 1, { deviceId: 'b', fault: 'job' }],
  ['peerFailed', 1, { deviceId: 'b', fault: 'link' }],
  ['peerLost', 3, { deviceId: 'd', fault: 'link' }],
  ['collectiveTimeout', 3, { deviceId: 'd', fault: 'link' }],
  ['collectiveTimeout', undefined, undefined],
  ['collectiveTimeout', 9, undefined],
  ['backendFailed', undefined, { deviceId: 'a', fault: 'job' }],
  ['diskFull', undefined, { deviceId: 'a', fault: 'job' }],
  ['internal', 2, { deviceId: 'a', fault: 'job' }],
  ['jobStalled', undefined, { deviceId: 'a', fault: 'silent' }],
  ['promptTooLong', undefined, undefined],
  ['modelConfigInvalid', undefined, undefined],
  ['jobCancelled', undefined, undefined],
  ['jobLost', undefined, undefined],
  ['epochStale', undefined, undefined],
]
for (const [code, rank, want] of jobs) {
  test(`blame: a job that failed with ${code} of rank ${rank ?? 'nobody'}`, () =>
    assert.deepEqual(blamedForJob(members, error(code, rank === undefined ? {} : { rank })), want))
}
test('blame: without members nobody is to blame', () => {
  for (const code of ['diskFull', 'jobStalled', 'rankFailed']) assert.equal(blamedForJob([], error(code)), undefined)
})

const links = (...pairs: string[]): { by: string; of: string }[] => pairs.map(([by, of]) => ({ by, of }))
const worst: readonly [name: string, pairs: string[], want: { deviceId: string; others: string[] } | undefined][] = [
  ['nobody', [], undefined],
  ['who lacks most', ['ab', 'ba', 'cb', 'bc'], { deviceId: 'b', others: ['a', 'c'] }],
  ['who is accused by most', ['ab', 'cb', 'db'], { deviceId: 'b', others: ['a', 'c', 'd'] }],
  ['who accuses all others', ['ab', 'ac', 'ad'], { deviceId: 'a', others: ['b', 'c', 'd'] }],
  ['the same twice counts once', ['ab', 'ab', 'ab', 'cd', 'dc', 'ca', 'ac'], { deviceId: 'a', others: ['b', 'c'] }],
  ['of two that accuse each other the last', ['ab', 'ba'], { deviceId: 'b', others: ['a'] }],
  ['of two the one that accuses alone', ['ad'], { deviceId: 'a', others: ['d'] }],
  ['of two the one that accuses alone, also when it joined last', ['da'], { deviceId: 'd', others: ['a'] }],
  [
    'members that left are others, and nobody to leave out',
    ['xa', 'xb', 'xc', 'ab', 'ba'],
    { deviceId: 'b', others: ['x', 'a'] },
  ],
]
for (const [name, pairs, want] of worst)
  test(`blame: worst linked: ${name}`, () => assert.deepEqual(worstLinked(links(...pairs), ['a', 'b', 'c', 'd']), want))
