import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Heard, isNews, reactionToReport, type Reporter } from './member-report.ts'

const member: Reporter = { isMember: true, isServing: true, isOfEpoch: true }
const loading = (phase: string, missing?: number[]): Heard =>
  ({ state: 'loading', loading: { phase, bytes: 1, totalBytes: 2, ...(missing ? { missing } : {}) } }) as Heard
const ready: Heard = { state: 'ready' }
const failed: Heard = { state: 'failed' }

const reactions: readonly [name: string, report: Heard, reporter: Partial<Reporter>, want: string][] = [
  ['of a member', ready, {}, 'take'],
  ['of a device that left while it was away', ready, { isMember: false, isServing: false }, 'left'],
  ['of a member that serves no more, while its job runs', ready, { isServing: false }, 'take'],
  ['of a device that is no part of the epoch', ready, { isMember: false }, 'ignore'],
  ['of an epoch that is over', ready, { isOfEpoch: false }, 'ignore'],
  ['that takes back that it is ready', loading('linking'), { before: ready }, 'ignore'],
  ['that what was ready failed', failed, { before: ready }, 'take'],
  ['that it is ready still', ready, { before: ready }, 'take'],
  ['that it gets on', loading('linking'), { before: loading('checking') }, 'take'],
]
for (const [name, report, change, want] of reactions)
  test(`member report: one ${name}`, () => assert.equal(reactionToReport(report, { ...member, ...change }), want))

const news: readonly [name: string, report: Heard, before: Heard | undefined, want: boolean][] = [
  ['the first', loading('checking'), undefined, true],
  ['more of the same', loading('checking'), loading('checking'), false],
  ['another phase', loading('linking'), loading('checking'), true],
  ['a link that came', loading('linking', [2]), loading('linking', [1, 2]), true],
  ['as many links that lack', loading('linking', [2]), loading('linking', [1]), false],
  ['ready', ready, loading('linking'), true],
  ['ready again', ready, ready, true],
  ['loading after a failure', loading('checking'), failed, true],
  ['without phases, as old agents tell it', { state: 'loading' }, { state: 'loading' }, false],
]
for (const [name, report, before, want] of news)
  test(`member report: ${name} ${want ? 'is news' : 'is no news'}`, () => assert.equal(isNews(report, before), want))
