import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Job } from '../../shared/schema/job.ts'
import { isSubmitter, mayReadText, type Reader, withoutText } from './job-readers.ts'

const [owner, other] = ['a'.repeat(64), 'b'.repeat(64)]

test('readers: every kind of reader, job and pool', () => {
  const readers: Record<string, Reader> = {
    owner: { deviceId: owner, isAdmin: false },
    ownersKey: { deviceId: owner, keyId: 'k1', isAdmin: false },
    ownersOtherKey: { deviceId: owner, keyId: 'k2', isAdmin: false },
    member: { deviceId: other, isAdmin: false },
    admin: { deviceId: other, isAdmin: true },
    keyOfAdmin: { deviceId: other, keyId: 'k3', isAdmin: true },
  }
  const readersOf = (job: Pick<Job, 'submittedBy' | 'keyId'>, adminsReadText: boolean): string[] =>
    Object.entries(readers).flatMap(([name, reader]) => (mayReadText(job, reader, { adminsReadText }) ? [name] : []))
  assert.deepEqual(readersOf({ submittedBy: owner }, false), ['owner'])
  assert.deepEqual(readersOf({ submittedBy: owner }, true), ['owner', 'admin'])
  assert.deepEqual(readersOf({ submittedBy: owner, keyId: 'k1' }, false), ['owner', 'ownersKey'])
  assert.deepEqual(readersOf({ submittedBy: owner, keyId: 'k1' }, true), ['owner', 'ownersKey', 'admin'])
})

test('readers: what is left without text has none of it, and all else', () => {
  const text = 'SECRET'
  const sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 1 }
  const facts = {
    jobId: 'job_1',
    poolId: owner,
    submittedBy: owner,
    keyId: 'k1',
    state: 'failed',
    worldSize: 2,
    epoch: 3,
    answered: 1,
    createdAt: 1,
    finishedAt: 3,
    usage: { promptTokens: 1, completionTokens: 1, totalTokens: 2 },
  } as const
  const asked = { modelId: 'tiny', maxTokens: 5, sampling }
  const error = { code: 'rankFailed', message: text, hint: text, fields: { problem: text, [text]: 1 } }
  const job: Job = {
    ...facts,
    submission: {
      ...asked,
      prompt: text,
      messages: [{ role: 'user', content: text }],
      stop: [text],
      special: true,
      idempotencyKey: text,
    },
    text,
    tokens: [7],
    error,
  }
  const left = withoutText(job, 'private')
  assert.ok(!JSON.stringify(left).includes(text))
  assert.deepEqual(left, {
    ...facts,
    submission: { ...asked, stop: [] },
    text: '',
    tokens: [],
    error: { code: 'rankFailed', message: 'failed: rankFailed' },
    withheld: 'private',
  })
})

test('readers: who asked is the device or the key, not the maker of the key', () => {
  const byKey = { submittedBy: owner, keyId: 'k1' }
  for (const [job, reader, is] of [
    [{ submittedBy: owner }, { deviceId: owner }, true],
    [{ submittedBy: owner }, { deviceId: other }, false],
    [{ submittedBy: owner }, { deviceId: owner, keyId: 'k1' }, false],
    [byKey, { deviceId: owner, keyId: 'k1' }, true],
    [byKey, { deviceId: owner }, false],
    [byKey, { deviceId: owner, keyId: 'k2' }, false],
  ] as const)
    assert.equal(isSubmitter(job, { ...reader, isAdmin: false }), is)
})
