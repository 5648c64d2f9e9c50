import assert from 'node:assert/strict'
import { test } from 'node:test'
import { claimedTokens, mostTokens } from './job-tokens.ts'

const shape = { context: 4096 }
const usage = (promptTokens: number) => ({ promptTokens, completionTokens: 3, totalTokens: promptTokens + 3 })
const submission = { prompt: 'hello', maxTokens: 60 }

test('job tokens: never more than the bytes of the prompt, the answer and the context allow', () => {
  for (const [change, answered, most] of [
    [{}, 3, 5 + 16 + 3],
    [{}, 100, 5 + 16 + 60],
    [{ prompt: '\u00e9\u4e2d' }, 0, 5 + 16],
    [{ prompt: 'x'.repeat(5000) }, 60, 4096],
    [
      {
        prompt: undefined,
        messages: [
          { role: 'user', content: 'hi' },
          { role: 'user', content: '\u4e2d' },
        ],
      },
      3,
      512 + 2 * 64 + 5 + 3,
    ],
  ] as const)
    assert.equal(mostTokens({ ...submission, ...change } as typeof submission, shape, answered), most)
})

test('job tokens: a sealed prompt may be as many messages as fit into its bytes', () => {
  for (const [bytes, messages] of [
    [3, 1],
    [27, 1],
    [30, 2],
    [84, 3],
    [87, 4],
  ] as const) {
    const sealed = { box: 'A'.repeat((bytes * 4) / 3) } as never
    assert.equal(mostTokens({ sealed, maxTokens: 60 }, shape, 7), bytes + 512 + messages * 64 + 7, `${bytes} bytes`)
  }
})

test('job tokens: rank 0 is believed up to that; a job that failed used none', () => {
  const claimed = (promptTokens: number, state: 'done' | 'failed' | 'cancelled' = 'done'): number =>
    claimedTokens({ submission }, shape, { state, usage: usage(promptTokens), tokens: [1, 2, 3] })
  assert.deepEqual(
    [claimed(5), claimed(5, 'cancelled'), claimed(21), claimed(22), claimed(1e9), claimed(5, 'failed')],
    [8, 8, 24, 24, 24, 0],
  )
  assert.equal(claimedTokens({ submission }, undefined, { state: 'done', usage: usage(5), tokens: [] }), 0)
  assert.equal(claimedTokens({ submission }, shape, { state: 'cancelled', tokens: [1] }), 0)
})
