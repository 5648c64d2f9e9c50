import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RankCheck, SumVerdict } from '../../shared/schema/ring.ts'
import { isMeasured, judgeSums } from './sum-verdicts.ts'

const members = ['a', 'b', 'c', 'd', 'e']

const checkOf = (rank: number, isWrong: boolean, change: Partial<RankCheck> = {}): RankCheck => ({
  rank,
  checks: 4,
  wrong: isWrong ? 3 : 0,
  worst: isWrong ? 0.01 : 1e-6,
  isWrong,
  jobs: isWrong ? [`job-of-${rank}`] : [],
  ...change,
})

/** 'a!b' : a says that b is wrong; 'a=b': a says that it is right. */
const judged = (world: number, ...words: readonly string[]): Record<string, SumVerdict> => {
  const said = new Map<string, RankCheck[]>()
  for (const [by, is, of] of words) said.set(by, [...(said.get(by) ?? []), checkOf(members.indexOf(of), is === '!')])
  return Object.fromEntries(
    judgeSums(members.slice(0, world), said).map(({ deviceId, verdict }) => [deviceId, verdict]),
  )
}

const cases: readonly (readonly [
  name: string,
  world: number,
  words: readonly string[],
  want: Partial<Record<string, SumVerdict>>,
])[] = [
  ['nobody said anything', 3, [], { a: 'unchecked', b: 'unchecked' }],
  ['all are right', 3, ['a=b', 'b=a', 'a=c'], { a: 'right', b: 'right', c: 'right' }],
  ['one accuser alone throws nobody out, in a ring of two', 2, ['a!b', 'b=a'], { a: 'right', b: 'disputed' }],
  ['of two that accuse each other, both are named', 2, ['a!b', 'b!a'], { a: 'disputed', b: 'disputed' }],
  [
    'one accuser alone throws nobody out, where a third found nothing or did not look',
    3,
    ['a!b', 'c=b', 'a!c'],
    { b: 'disputed', c: 'disputed' },
  ],
  ['two of two', 3, ['a!b', 'c!b'], { b: 'wrong' }],
  ['two of three', 4, ['a!b', 'c!b', 'd=b'], { b: 'wrong' }],
  ['two of four are not more than half', 5, ['a!b', 'c!b', 'd=b', 'e=b'], { b: 'disputed' }],
  ['three of four', 5, ['a!b', 'c!b', 'd!b', 'e=b'], { b: 'wrong' }],
  [
    'who is found wrong has no say',
    3,
    ['a!b', 'c!b', 'b!a', 'b!c', 'a=c', 'c=a'],
    { a: 'right', b: 'wrong', c: 'right' },
  ],
  [
    'the word of one that is found wrong confirms nothing',
    4,
    ['a!b', 'c!b', 'd!b', 'b!a', 'c!a', 'd=a'],
    { a: 'disputed', b: 'wrong' },
  ],
]
for (const [name, world, words, want] of cases)
  test(`verdicts on sums: ${name}`, () => {
    const got = judged(world, ...words)
    for (const [deviceId, verdict] of Object.entries(want)) assert.equal(got[deviceId], verdict, deviceId)
  })

test('verdicts on sums: figures of all that checked, accusers and jobs of those that say so', () => {
  const said = new Map([
    ['a', [checkOf(1, true, { checks: 5, wrong: 2, worst: 0.2 })]],
    ['c', [checkOf(1, true)]],
  ])
  const [, second, third] = judgeSums(['a', 'b', 'c'], said)
  assert.deepEqual(second, {
    deviceId: 'b',
    verdict: 'wrong',
    checks: 9,
    wrong: 5,
    worst: 0.2,
    accusers: ['a', 'c'],
    jobs: ['job-of-1'],
  })
  assert.deepEqual(third, {
    deviceId: 'c',
    verdict: 'unchecked',
    checks: 0,
    wrong: 0,
    worst: 0,
    accusers: [],
    jobs: [],
  })
})

test('verdicts on sums: nobody is heard about itself, nor who is no member; who cannot be checked says why', () => {
  const said = new Map([
    ['b', [checkOf(1, true)]],
    ['x', [checkOf(1, true)]],
    ['a', [checkOf(1, false, { checks: 0, problem: 'no disk' })]],
  ])
  const [, second] = judgeSums(['a', 'b', 'c'], said)
  assert.deepEqual([second.verdict, second.problem], ['unchecked', 'no disk'])
})

test('verdicts on sums: where it is not known how a processor rounds, all accusers together only name its member', () => {
  const said = new Map([
    ['a', [checkOf(1, true), checkOf(2, true)]],
    ['c', [checkOf(1, true)]],
    ['b', [checkOf(2, true)]],
  ])
  const verdicts = judgeSums(['a', 'b', 'c'], said, (deviceId) => deviceId !== 'b').map(({ verdict }) => verdict)
  assert.deepEqual(verdicts, ['unchecked', 'disputed', 'wrong'])
  assert.deepEqual(['x64', 'arm64', '', undefined].map(isMeasured), [true, false, false, false])
})
