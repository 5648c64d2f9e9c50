/** API keys over real HTTP and SQLite: what an app may do, what it may use, and when its key ends. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { type Client, createClient } from '../../shared/api/client.ts'
import type { MeshError } from '../../shared/errors.ts'
import { newApiKey } from '../../shared/identity/api-key.ts'
import { certificateLifetimeMs } from '../../shared/identity/pool-certificate.ts'
import { signRevocations } from '../../shared/identity/revocation-list.ts'
import { LedgerCheck } from '../../shared/ledger/verify.ts'
import type { CreditsView } from '../../shared/schema/credits.ts'
import type { Job, JobSubmission } from '../../shared/schema/job.ts'
import { limits } from '../../shared/limits.ts'
import { defaultCreditSettings } from '../service/credits.ts'
import {
  createKey,
  createPool,
  eventually,
  FakeAgent,
  manifest,
  type Plane,
  quickSettings,
  startPlane,
  submission,
  TestDevice,
  type TestPool,
} from './plane.ts'
import { activeRing, done } from './steps.ts'

const dayMs = 86_400_000

interface ClockedPlane extends Plane {
  now(): number
  pass(ms: number): void
}

/**
 * A control plane whose clock the test moves. It never starts within a minute of midnight UTC, where quotas begin anew.
 */
const plane = async (t: TestContext, folder?: string): Promise<ClockedPlane> => {
  let ahead = dayMs - (Date.now() % dayMs) < 60_000 ? 60_000 : 0
  const now = (): number => Date.now() + ahead
  const started = await startPlane(
    t,
    folder,
    { ...quickSettings, credits: { ...defaultCreditSettings, settleMs: 0 } },
    now,
  )
  return { ...started, now, pass: (ms) => (ahead += ms) }
}

const submit = (app: Client, { poolId }: TestPool, name: string, change: Partial<JobSubmission> = {}): Promise<Job> =>
  app.call('submitJob', { params: { poolId }, body: submission(name, change) })

/** Rank 0 runs the next job: one token of prompt and `count` of answer. */
const runNext = async (leader: FakeAgent, epoch: number, count: number): Promise<string> => {
  const { jobId } = await leader.next('job-assign')
  leader.send(
    done(
      jobId,
      epoch,
      'text',
      Array.from({ length: count }, (_, index) => index),
    ),
  )
  await leader.next('job-settled')
  return jobId
}

test('keys: a member sees its own and an admin all; the secret is in no answer and not on the disk', async (t) => {
  const { url, folder, stop } = await plane(t)
  const pool = await createPool(url)
  const [a, b] = [await pool.member('A'), await pool.member('B')]
  const params = { poolId: pool.poolId }
  const ofA = await createKey(a, pool, url, { name: 'editor', tokensPerDay: 500 })
  const ofB = await createKey(b, pool, url)
  const [view, ...others] = await a.client(url).call('listKeys', { params })
  assert.deepEqual(
    [others, view.keyId, view.name, view.deviceName, view.tokensPerDay, view.usedToday, view.reserved, view.lastUsedAt],
    [[], ofA.keyId, 'editor', 'A', 500, 0, 0, undefined],
  )
  assert.deepEqual(
    (await pool.admin.client(url).call('listKeys', { params })).map(({ keyId }) => keyId),
    [ofA.keyId, ofB.keyId],
  )
  assert.equal((await ofA.app.call('getKey', {})).poolId, pool.poolId)
  assert.ok(((await a.client(url).call('listKeys', { params }))[0].lastUsedAt ?? 0) > Date.now() - 60_000)

  await assert.rejects(a.client(url).call('revokeKey', { params: { ...params, keyId: ofB.keyId } }), {
    code: 'notFound',
  })
  await a.client(url).call('revokeKey', { params: { ...params, keyId: ofA.keyId } })
  await pool.admin.client(url).call('revokeKey', { params: { ...params, keyId: ofB.keyId } })
  for (const { app } of [ofA, ofB]) await assert.rejects(app.call('getKey', {}), { code: 'keyRevoked', status: 401 })

  const answers = JSON.stringify(await pool.admin.client(url).call('listKeys', { params }))
  await stop()
  const stored = Buffer.concat(readdirSync(folder).map((name) => readFileSync(join(folder, name)))).toString('latin1')
  for (const { text } of [ofA, ofB])
    for (const place of [answers, stored]) assert.ok(!place.includes(text) && !place.includes(text.slice(-64)))
})

test('keys: making one twice is harmless, the id of another is refused, and their number is limited', async (t) => {
  const { url } = await plane(t)
  const pool = await createPool(url)
  const params = { poolId: pool.poolId }
  const member = await pool.member('A')
  const { keyId, hash } = newApiKey()
  const body = { keyId, hash, name: 'app', lifetimeMs: 3600e3 }
  const make = (device: TestDevice, change: Partial<typeof body> = {}): Promise<unknown> =>
    device.client(url).call('createKey', { params, body: { ...body, ...change } })
  assert.deepEqual(await make(member), await make(member))
  await assert.rejects(make(member, { hash: 'a'.repeat(64) }), { code: 'requestInvalid', message: /is taken/ })
  await assert.rejects(make(pool.admin), { code: 'requestInvalid', message: /is taken/ })
  for (const wrong of [
    { keyId: 'x' },
    { hash: 'short' },
    { lifetimeMs: 0 },
    { lifetimeMs: 1e15 },
    { name: '' },
    { tokensPerDay: 0 },
  ])
    await assert.rejects(make(member, wrong), { code: 'requestInvalid' })
  for (let index = 1; index < limits.apiKeys; index++) await createKey(member, pool, url)
  await assert.rejects(createKey(member, pool, url), { code: 'keyLimit', status: 409 })
  await member.client(url).call('revokeKey', { params: { ...params, keyId } })
  const newest = await createKey(member, pool, url) // the revoked one makes room
  const ids = (await member.client(url).call('listKeys', { params })).map((key) => key.keyId)
  assert.deepEqual([ids.length, ids.includes(keyId), ids.includes(newest.keyId)], [limits.apiKeys, false, true])
})

test('keys: an app submits, reads, follows and cancels by plain HTTP, and sees the jobs of its own key alone', async (t) => {
  const { url } = await plane(t)
  const pool = await createPool(url)
  const {
    agents: [leader],
    epoch,
  } = await activeRing(t, pool, url, 1)
  const { text, keyId, app } = await createKey(pool.admin, pool, url)
  const { app: other } = await createKey(pool.admin, pool, url)
  const send = (method: string, path: string, body?: object): Promise<Response> =>
    fetch(`${url}/api/pools/${pool.poolId}${path}`, {
      method,
      headers: { authorization: `Bearer ${text}`, ...(body ? { 'content-type': 'application/json' } : {}) },
      body: body && JSON.stringify(body),
    })

  const rings = (await (await send('GET', '/rings')).json()) as { modelId: string }[]
  assert.deepEqual(
    rings.map(({ modelId }) => modelId),
    ['tiny'],
  )
  const own = await submit(pool.admin.client(url), pool, 'same') // the same idempotency key as the app
  const job = (await (await send('POST', '/jobs', submission('same'))).json()) as Job
  assert.notEqual(job.jobId, own.jobId)
  assert.deepEqual([job.submittedBy, job.keyId, own.keyId], [pool.admin.deviceId, keyId, undefined])
  assert.equal(((await (await send('POST', '/jobs', submission('same'))).json()) as Job).jobId, job.jobId)

  const events = await send('GET', `/jobs/${job.jobId}/events`)
  assert.equal(events.headers.get('content-type'), 'text/event-stream')
  for (let index = 0; index < 2; index++) await runNext(leader, epoch, 3)
  const stream = await events.text()
  assert.match(stream, /event: tokens\ndata: .*"text":"text"/)
  assert.match(stream, /event: end\n/)
  assert.equal(((await (await send('GET', `/jobs/${job.jobId}`)).json()) as Job).text, 'text')

  for (const jobId of [own.jobId, 'job_none'])
    for (const [method, path] of [
      ['GET', ''],
      ['DELETE', ''],
      ['GET', '/events'],
    ])
      assert.equal((await send(method, `/jobs/${jobId}${path}`)).status, 404)
  await assert.rejects(other.call('getJob', { params: { poolId: pool.poolId, jobId: job.jobId } }), {
    code: 'notFound',
  })
  assert.equal(
    (await pool.admin.client(url).call('getJob', { params: { poolId: pool.poolId, jobId: job.jobId } })).keyId,
    keyId,
  ) // its maker pays, and may look
  const running = await submit(app, pool, 'running')
  const waiting = await submit(app, pool, 'waiting')
  assert.equal(((await (await send('DELETE', `/jobs/${waiting.jobId}`)).json()) as Job).state, 'cancelled')
  await send('DELETE', `/jobs/${running.jobId}`)
  assert.equal((await leader.next('job-cancel')).jobId, running.jobId)
})

test('keys: expired, and ended with the membership of its maker, each says so', async (t) => {
  const { url, pass } = await plane(t)
  const pool = await createPool(url)
  const [short, long] = [
    await createKey(pool.admin, pool, url, { lifetimeMs: 60_000 }),
    await createKey(pool.admin, pool, url, { lifetimeMs: 366 * dayMs }),
  ]
  const member = await pool.member('Member')
  const ofMember = await createKey(member, pool, url)
  await ofMember.app.call('getKey', {})
  const list = signRevocations(pool.root, { after: 0, removed: [member.deviceId] }, Date.now())
  await pool.admin.client(url).call('publishRevocations', { params: { poolId: pool.poolId }, body: { list } })
  await assert.rejects(ofMember.app.call('getKey', {}), { code: 'keyRevoked' })

  pass(60_001)
  await assert.rejects(short.app.call('getKey', {}), { code: 'keyExpired', status: 401, message: /expired at 20/ })
  pass(certificateLifetimeMs + 10 * dayMs) // the certificate of the maker is over, but may still be renewed
  await long.app.call('getKey', {})
  pass(90 * dayMs)
  await assert.rejects(long.app.call('getKey', {}), { code: 'keyMakerGone', status: 403 })
})

test('keys: revoking one ends what runs and waits with it, and nothing else', async (t) => {
  const { url } = await plane(t)
  const pool = await createPool(url)
  const {
    agents: [leader],
    epoch,
  } = await activeRing(t, pool, url, 1)
  const { keyId, app } = await createKey(pool.admin, pool, url)
  const params = { poolId: pool.poolId }
  const [running, waiting] = [await submit(app, pool, 'running'), await submit(app, pool, 'waiting')]
  const own = await submit(pool.admin.client(url), pool, 'own')
  await leader.next('job-assign')
  await pool.admin.client(url).call('revokeKey', { params: { ...params, keyId } })
  assert.equal((await leader.next('job-cancel')).jobId, running.jobId)
  leader.send({
    type: 'job-failed',
    jobId: running.jobId,
    epoch,
    error: { code: 'jobCancelled', message: 'cancelled' },
  })
  const states = async (): Promise<string[]> =>
    (
      await Promise.all(
        [running, waiting, own].map(({ jobId }) =>
          pool.admin.client(url).call('getJob', { params: { ...params, jobId } }),
        ),
      )
    ).map(({ state }) => state)
  await eventually('the own job runs', async () => (await states())[2] === 'assigned')
  assert.deepEqual(await states(), ['cancelled', 'cancelled', 'assigned'])
})

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

test('keys: an address that sends wrong keys in a row has to wait; known keys behind it go on', async (t) => {
  const { url, pass } = await plane(t)
  const pool = await createPool(url)
  const { text, app } = await createKey(pool.admin, pool, url)
  const { app: unused } = await createKey(pool.admin, pool, url)
  await app.call('getKey', {})
  const guess = (key: string): Promise<string> =>
    createClient({ url, apiKey: key })
      .call('getKey', {})
      .then(
        () => 'right',
        (error: { code: string }) => error.code,
      )
  // all look alike: another secret for a known id, an unknown id, and what is no key at all
  for (const wrong of [
    `${text.slice(0, -1)}${text.endsWith('0') ? '1' : '0'}`,
    newApiKey().text,
    'mesh_sk_',
    'x'.repeat(4000),
  ])
    assert.equal(await guess(wrong), 'keyInvalid')
  assert.equal(await guess(text), 'right') // a right one in between: not in a row any more
  for (let index = 0; index < 10; index++) assert.equal(await guess(newApiKey().text), 'keyInvalid')
  const late = await fetch(`${url}/api/api-key`, { headers: { authorization: `Bearer ${newApiKey().text}` } })
  assert.deepEqual(
    [late.status, late.headers.get('retry-after'), ((await late.json()) as { error: { code: string } }).error.code],
    [429, '1', 'keyAttempts'],
  )
  await assert.rejects(unused.call('getKey', {}), { code: 'keyAttempts' })
  pass(1001)
  assert.equal(await guess(newApiKey().text), 'keyInvalid')
  assert.equal(await guess(newApiKey().text), 'keyAttempts') // two seconds now
  pass(1001)
  assert.equal(await guess(newApiKey().text), 'keyAttempts')
  assert.equal(await guess(text), 'right')
  await unused.call('getKey', {})
})

test('keys: a wrong key is refused before its body is read', async (t) => {
  const { url } = await plane(t)
  const pool = await createPool(url)
  const answer = await fetch(`${url}/api/pools/${pool.poolId}/jobs`, {
    method: 'POST',
    body: 'x'.repeat(limits.requestBytes),
    headers: { authorization: `Bearer ${newApiKey().text}`, 'content-type': 'application/json' },
  })
  assert.equal(answer.status, 401) // else it would be 413
})

test('keys: a prompt longer than the context reserves the context, no more', async (t) => {
  const { url } = await plane(t)
  const pool = await createPool(url)
  await activeRing(t, pool, url, 1)
  const { app } = await createKey(pool.admin, pool, url)
  await submit(app, pool, 'long', { prompt: 'word '.repeat(5000), maxTokens: 1_000_000 })
  assert.equal((await app.call('getKey', {})).reserved, manifest.shape.context)
})
