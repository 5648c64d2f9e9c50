import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { JobState } from '../../shared/schema/job.ts'
import { failedWith, type JobMessage, reactionTo, type Reaction, resultOf } from './job-state.ts'

const news = ['job-started', 'job-tokens', 'job-done', 'job-failed'] as const satisfies readonly JobMessage['type'][]

// reactions in the order of `news`, to the leader and to anybody else
const table: readonly [state: JobState | undefined, leader: readonly Reaction[], others: readonly Reaction[]][] = [
  ['queued', ['start', 'append', 'finish', 'finish'], ['ignore', 'ignore', 'ignore', 'ignore']],
  ['assigned', ['start', 'append', 'finish', 'finish'], ['ignore', 'ignore', 'ignore', 'ignore']],
  ['running', ['ignore', 'append', 'finish', 'finish'], ['ignore', 'ignore', 'ignore', 'ignore']],
  ['done', ['stop', 'stop', 'settle', 'settle'], ['stop', 'stop', 'settle', 'settle']],
  ['failed', ['stop', 'stop', 'settle', 'settle'], ['stop', 'stop', 'settle', 'settle']],
  ['cancelled', ['stop', 'stop', 'settle', 'settle'], ['stop', 'stop', 'settle', 'settle']],
  [undefined, ['stop', 'stop', 'settle', 'settle'], ['stop', 'stop', 'settle', 'settle']],
]

for (const [state, leader, others] of table) {
  test(`job state: what ${state ?? 'an unknown job'} makes of each message`, () => {
    assert.deepEqual(
      news.map((type) => reactionTo(type, state, true)),
      leader,
    )
    assert.deepEqual(
      news.map((type) => reactionTo(type, state, false)),
      others,
    )
  })
}

const soFar = { text: 'so far', tokens: [1, 2] }
const error = { code: 'peerLost', message: 'lost B' }
const done = (finishReason: 'stop' | 'cancelled'): Extract<JobMessage, { type: 'job-done' }> => ({
  type: 'job-done',
  jobId: 'j',
  epoch: 1,
  finishReason,
  text: 'all',
  tokens: [1, 2, 3],
  usage: { promptTokens: 1, completionTokens: 3, totalTokens: 4 },
  timings: {
    queuedMs: 0,
    timeToFirstTokenMs: 0,
    prefillMs: 0,
    decodeMs: 0,
    prefillTokensPerSecond: 0,
    decodeTokensPerSecond: 0,
    computeMs: 0,
    collectiveMs: 0,
  },
})
const failed = (code: string): Extract<JobMessage, { type: 'job-failed' }> => ({
  type: 'job-failed',
  jobId: 'j',
  epoch: 1,
  error: { ...error, code },
})

test('job state: a job ends as its leader says, or as cancelled when somebody asked for that', () => {
  assert.equal(resultOf(done('stop'), soFar, false).state, 'done')
  assert.equal(resultOf(done('stop'), soFar, true).state, 'done') // it was faster
  assert.equal(resultOf(done('cancelled'), soFar, true).state, 'cancelled')
  assert.deepEqual(resultOf(failed('peerLost'), soFar, false), { state: 'failed', error, ...soFar })
  assert.deepEqual(resultOf(failed('peerLost'), soFar, true), {
    state: 'cancelled',
    finishReason: 'cancelled',
    ...soFar,
  })
  assert.equal(resultOf(failed('jobCancelled'), soFar, false).state, 'cancelled')
  assert.deepEqual(failedWith(error, soFar, false), { state: 'failed', error, ...soFar })
})
