import assert from 'node:assert/strict'
import { test } from 'node:test'
import { limits } from '../../shared/limits.ts'
import { formatBytes } from '../../shared/words.ts'
import { checkQueue, type Queued, type QueueOwner } from './queue-limits.ts'

const nothing: Queued = { jobs: 0, bytes: 0 }
const few: Queued = { jobs: limits.queuedJobsAlways, bytes: 10 }
const empty: Record<QueueOwner, Queued> = { key: nothing, member: nothing, pool: nothing }
const whose: Record<QueueOwner, string> = {
  key: 'API key k',
  member: 'this device, with its API keys,',
  pool: 'this pool',
}
const most: Record<QueueOwner, Queued> = {
  key: { jobs: limits.queuedJobsOfKey, bytes: limits.queuedBytesOfKey },
  member: { jobs: limits.queuedJobsOfMember, bytes: limits.queuedBytesOfMember },
  pool: { jobs: limits.queuedJobs, bytes: limits.queuedBytes },
}

for (const owner of ['key', 'member', 'pool'] as const) {
  /** A queue in which that owner has so much, and the member enough for the pool to be asked. */
  const queued = (own: Queued): Record<QueueOwner, Queued> => ({ ...empty, member: few, [owner]: own })

  test(`queue limits: so many jobs and bytes of one ${owner}`, () => {
    const { jobs, bytes } = most[owner]
    checkQueue('k', queued({ jobs: jobs - 1, bytes: bytes - 7 }), 7)
    assert.throws(() => checkQueue('k', queued({ jobs, bytes: 0 }), 7), {
      code: 'queueFull',
      fields: { whose: whose[owner], limit: `${jobs} jobs`, retryAfterSeconds: 5 },
    })
    assert.throws(() => checkQueue('k', queued({ jobs: limits.queuedJobsAlways, bytes: bytes - 7 }), 8), {
      code: 'queueFull',
      fields: { whose: whose[owner], limit: `${formatBytes(bytes)} of prompts`, retryAfterSeconds: 5 },
    })
  })
}

test('queue limits: where nothing waits, one of any size is taken', () => {
  checkQueue('k', empty, 1e12)
  assert.throws(() => checkQueue('k', { ...empty, key: { jobs: 1, bytes: 1 } }, 1e12), { code: 'queueFull' })
})

test('queue limits: jobs of the device itself do not ask what a key may', () => {
  checkQueue('', { ...empty, key: most.key }, 1)
  assert.throws(() => checkQueue('k', { ...empty, key: most.key }, 1), { code: 'queueFull' })
})

test('queue limits: who has next to nothing gets into a full pool', () => {
  const almost = { jobs: limits.queuedJobsAlways - 1, bytes: 10 }
  checkQueue('', { ...empty, pool: most.pool, member: almost }, 1)
  assert.throws(() => checkQueue('', { ...empty, pool: most.pool, member: few }, 1), { code: 'queueFull' })
})

test('queue limits: of several the innermost is named', () => {
  assert.throws(() => checkQueue('k', most, 1), {
    fields: { whose: whose.key, limit: `${most.key.jobs} jobs`, retryAfterSeconds: 5 },
  })
  assert.throws(() => checkQueue('', most, 1), /this device/)
})
