import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { JobSubmission } from '../../shared/schema/job.ts'
import { checkQuota, dayMs, dayStart, expectedTokens, type KeyUse } from './key-quota.ts'

const message = (content: string) => ({ role: 'user', content }) as const

test('key quota: days begin at midnight UTC', () => {
  const midnight = Date.UTC(2026, 1, 3)
  for (const now of [midnight, midnight + 1, midnight + dayMs - 1]) assert.equal(dayStart(now), midnight)
  assert.equal(dayStart(midnight - 1), midnight - dayMs)
})

test('key quota: a job is expected to have three bytes a token, eight tokens around a message, and its whole answer', () => {
  const table = [
    [{ prompt: '', maxTokens: 5 }, 5],
    [{ prompt: 'abc', maxTokens: 5 }, 6],
    [{ prompt: 'abcd', maxTokens: 0 }, 2],
    [{ prompt: 'äö', maxTokens: 0 }, 2],
    [{ maxTokens: 7 }, 7],
    [{ messages: [message('abc'), message('abcd')], maxTokens: 10 }, 1 + 2 + 16 + 10],
    [{ messages: [], maxTokens: 10 }, 10],
  ] as const
  for (const [job, tokens] of table)
    assert.equal(expectedTokens({ ...job, messages: 'messages' in job ? [...job.messages] : undefined }, 1000), tokens)
  assert.equal(expectedTokens({ prompt: 'abc'.repeat(200), maxTokens: 50 }, 100), 100)
})

test('key quota: what is sealed counts by the bytes that it can hold', () => {
  const sealed = { box: 'a'.repeat(4001) } as NonNullable<JobSubmission['sealed']>
  assert.equal(expectedTokens({ sealed, maxTokens: 3 }, 1e6), Math.ceil(Math.ceil(4001 * 0.75) / 3) + 3)
})

const now = Date.UTC(2026, 1, 3, 23, 59, 58, 500)
const check = (use: KeyUse, wanted: number): void => checkQuota({ keyId: 'k', tokensPerDay: 100 }, use, wanted, now)
const quota = { keyId: 'k', quota: 100 }

test('key quota: what is used, reserved and wanted fits to the last token', () => {
  check({ usedToday: 0, reserved: 0 }, 100)
  check({ usedToday: 30, reserved: 30 }, 40)
  assert.throws(() => check({ usedToday: 0, reserved: 0 }, 101), {
    code: 'keyQuotaTooSmall',
    fields: { ...quota, wanted: 101 },
  })
  assert.throws(() => check({ usedToday: 90, reserved: 90 }, 101), { code: 'keyQuotaTooSmall' })
})

test('key quota: soon where open jobs are in the way, at midnight where it is used up', () => {
  const cases: readonly [KeyUse, wanted: number, left: number, seconds: number][] = [
    [{ usedToday: 30, reserved: 30 }, 41, 40, 5],
    [{ usedToday: 59, reserved: 1 }, 41, 40, 5],
    [{ usedToday: 60, reserved: 0 }, 41, 40, 2],
    [{ usedToday: 60, reserved: 10 }, 100, 30, 2],
    [{ usedToday: 200, reserved: 0 }, 1, 0, 2],
    [{ usedToday: 0, reserved: 150 }, 1, 0, 5],
  ]
  for (const [use, wanted, left, retryAfterSeconds] of cases)
    assert.throws(() => check(use, wanted), {
      code: 'keyQuotaExceeded',
      fields: { ...quota, wanted, left, retryAfterSeconds },
    })
})
