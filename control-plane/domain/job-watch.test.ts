import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type JobNews, type JobWatch, jobWatched, jobWatchFrom } from './job-watch.ts'

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
