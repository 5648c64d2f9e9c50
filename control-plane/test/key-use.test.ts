/** What apps use by their keys: quotas, turns, and on whom it is booked. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Client, createClient } from '../../shared/api/client.ts'
import type { MeshError } from '../../shared/errors.ts'
import { LedgerCheck } from '../../shared/ledger/verify.ts'
import type { CreditsView } from '../../shared/schema/credits.ts'
import { createKey, createPool, eventually, FakeAgent, manifest, submission } from './plane.ts'
import { activeRing } from './steps.ts'
import { dayMs, plane, submit, runNext } from './key-stage.ts'

test('quota: reserved when jobs are submitted, charged what they used, also over a restart, and new at midnight UTC', async (t) => {
  const first = await plane(t)
  const pool = await createPool(first.url)
  const {
    agents: [leader],
    epoch,
    ringId,
  } = await activeRing(t, pool, first.url, 1)
  const { text, keyId, app } = await createKey(pool.admin, pool, first.url, {
    tokensPerDay: 200,
    lifetimeMs: 2 * dayMs,
  })
  const left = async (client: Client): Promise<number[]> => {
    const { usedToday, reserved } = await client.call('getKey', {})
    return [usedToday, reserved]
  }
  const hello = Math.ceil('hello'.length / 3)
  await assert.rejects(submit(app, pool, 'huge', { maxTokens: 1000 }), { code: 'keyQuotaTooSmall', status: 422 })
  const atOnce = await Promise.allSettled(
    Array.from({ length: 6 }, (_, index) => submit(app, pool, `parallel-${index}`, { maxTokens: 60 })),
  )
  assert.equal(atOnce.filter(({ status }) => status === 'fulfilled').length, 3)
  assert.deepEqual(await left(app), [0, 3 * (60 + hello)])
  const refused = await fetch(`${first.url}/api/pools/${pool.poolId}/jobs`, {
    method: 'POST',
    headers: { authorization: `Bearer ${text}`, 'content-type': 'application/json' },
    body: JSON.stringify(submission('more', { maxTokens: 60 })),
  })
  const { error } = (await refused.json()) as { error: { code: string; fields: Record<string, number> } }
  assert.deepEqual(
    [refused.status, error.code, error.fields.left, refused.headers.get('retry-after')],
    [429, 'keyQuotaExceeded', 200 - 3 * (60 + hello), '5'],
  )

  await runNext(leader, epoch, 9)
  const { jobId } = await leader.next('job-assign')
  leader.send({ type: 'job-failed', jobId, epoch, error: { code: 'internal', message: 'no luck' } })
  assert.equal((await leader.next('job-settled')).jobId, jobId)
  assert.deepEqual(await left(app), [10, 60 + hello]) // one ran, one failed and costs nothing, one is open
  await runNext(leader, epoch, 60)
  assert.deepEqual(await left(app), [71, 0])
  leader.kill()
  await first.stop()

  const second = await plane(t, first.folder)
  const again = createClient({ url: second.url, apiKey: text })
  assert.deepEqual(await left(again), [71, 0])
  const agent = await FakeAgent.connect(t, pool.admin, second.url)
  agent.ready(ringId, epoch)
  await eventually(
    'the ring is active again',
    async () => (await again.call('listRings', { params: { poolId: pool.poolId } }))[0].status === 'active',
  )
  await submit(again, pool, 'later', { maxTokens: 100 })
  await runNext(agent, epoch, 100)
  let retryAfterSeconds = 0
  await assert.rejects(submit(again, pool, 'too much', { maxTokens: 100 }), (failure: MeshError) => {
    retryAfterSeconds = Number(failure.fields.retryAfterSeconds)
    return failure.code === 'keyQuotaExceeded'
  })
  assert.ok(Math.abs(retryAfterSeconds - (dayMs - (second.now() % dayMs)) / 1000) < 5, String(retryAfterSeconds))
  second.pass(retryAfterSeconds * 1000)
  await submit(again, pool, 'tomorrow', { maxTokens: 100 })
  assert.deepEqual(await left(again), [0, 100 + hello])
  assert.equal((await again.call('getKey', {})).keyId, keyId)
})

test('quota: what an app used is booked on the device that made its key, and the ledger sums to zero', async (t) => {
  const { url } = await plane(t)
  const pool = await createPool(url)
  const {
    agents: [leader, follower],
    epoch,
  } = await activeRing(t, pool, url, 2)
  const { app } = await createKey(follower.device, pool, url)
  const { jobId } = await submit(app, pool, 'one', { maxTokens: 100 })
  await runNext(leader, epoch, 100)
  const entries = async () =>
    (await pool.admin.client(url).call('ledger', { params: { poolId: pool.poolId }, query: {} })).entries
  await eventually('it is settled', async () => (await entries()).length > 0)
  const all = await entries()
  const check = new LedgerCheck({ poolId: pool.poolId })
  check.push(all)
  assert.equal(check.finish().jobs, 1)
  assert.deepEqual(
    all.map(({ kind, deviceId, tokens }) => [kind, deviceId, tokens]),
    [
      ['work', leader.device.deviceId, 101],
      ['work', follower.device.deviceId, 101],
      ['use', follower.device.deviceId, 101],
    ],
  )
  assert.ok(all.every((entry) => entry.jobId === jobId && entry.signature === null))
  const { members } = (await pool.admin.client(url).call('credits', { params: { poolId: pool.poolId } })) as CreditsView
  assert.equal(members.find(({ deviceId }) => deviceId === follower.device.deviceId)?.used, -all[2].amount)
})

test('turns: an app takes turns as the device that made its key', async (t) => {
  const { url } = await plane(t)
  const pool = await createPool(url)
  const {
    agents: [leader, follower],
    epoch,
  } = await activeRing(t, pool, url, 2)
  const { app } = await createKey(follower.device, pool, url)
  const first = await submit(pool.admin.client(url), pool, 'first') // runs at once
  const apps = [await submit(app, pool, 'a1'), await submit(app, pool, 'a2')]
  const own = await submit(follower.device.client(url), pool, 'own')
  const other = await submit(pool.admin.client(url), pool, 'other')
  const order: string[] = []
  for (let index = 0; index < 5; index++) order.push(await runNext(leader, epoch, 5))
  assert.deepEqual([order[0], order.indexOf(other.jobId) < 4], [first.jobId, true])
  // among themselves the app and the device take turns: who floods with a key does not shut itself out
  const theirs = [apps[0], own, apps[1]].map(({ jobId }) => jobId)
  assert.deepEqual(
    order.filter((jobId) => theirs.includes(jobId)),
    theirs,
  )
})

test('keys: a prompt longer than the context reserves the context, no more', async (t) => {
  const { url } = await plane(t)
  const pool = await createPool(url)
  await activeRing(t, pool, url, 1)
  const { app } = await createKey(pool.admin, pool, url)
  await submit(app, pool, 'long', { prompt: 'word '.repeat(5000), maxTokens: 1_000_000 })
  assert.equal((await app.call('getKey', {})).reserved, manifest.shape.context)
})
