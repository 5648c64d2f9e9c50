import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { JobMessage } from './job-state.ts'
import { type JobNews, type JobWatch, jobWatched, jobWatchFrom, mostOf, newsOf } from './job-watch.ts'

const most = { read: 100, written: 10 }
/** When the job got on last, of news that come a second after each other. */
const lastOf = (...news: JobNews[]): number =>
  news.reduce<JobWatch>((watch, one, index) => jobWatched(watch, one, most, index + 1), jobWatchFrom(0)).at

const table: readonly [name: string, news: JobNews[], last: number][] = [
  ['nothing', [{}], 0],
  ['it begins', [{ started: true }], 1],
  ['it begins twice', [{ started: true }, { started: true }], 1],
  ['it reads', [{ read: 5 }, { read: 9 }], 2],
  ['it reads the same again', [{ read: 9 }, { read: 5 }, { read: 9 }], 1],
  ['all of the context', [{ read: 100 }], 1],
  ['more than the context', [{ read: 101 }], 0],
  ['it writes', [{ read: 5 }, { written: 1 }, { written: 2 }], 3],
  ['it writes the same again', [{ written: 2 }, { written: 1 }, { written: 2 }], 1],
  ['as much as it may', [{ written: 10 }], 1],
  ['more than it may', [{ written: 11 }], 0],
  ['it begins after it wrote', [{ written: 1 }, { started: true }, { started: true }], 2],
  [
    'it writes and reads no more than before',
    [
      { read: 50, written: 5 },
      { read: 50, written: 5 },
    ],
    1,
  ],
]
for (const [name, news, last] of table) test(`job watch: ${name}`, () => assert.equal(lastOf(...news), last))

test('job watch: what a message of rank 0 tells of how it gets on', () => {
  const job = { jobId: 'j', epoch: 1 }
  const tokens: JobMessage = { type: 'job-tokens', ...job, firstIndex: 7, tokens: [1, 2], text: 'x' }
  assert.deepEqual(newsOf(tokens), { written: 9 })
  assert.deepEqual(newsOf({ type: 'job-started', ...job, promptTokens: 3 }), { started: true })
  assert.deepEqual(newsOf({ type: 'job-failed', ...job, error: { code: 'x', message: '' } }), {})
  assert.deepEqual(mostOf(100, { maxTokens: 5 }), { read: 100, written: 5 })
})
