/** API keys over real HTTP and SQLite: what an app may do, and when its key ends. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { createClient } from '../../shared/api/client.ts'
import { newApiKey } from '../../shared/identity/api-key.ts'
import { certificateLifetimeMs } from '../../shared/identity/pool-certificate.ts'
import { signRevocations } from '../../shared/identity/revocation-list.ts'
import type { Job } from '../../shared/schema/job.ts'
import { limits } from '../../shared/limits.ts'
import { createKey, createPool, eventually, submission, TestDevice } from './plane.ts'
import { activeRing } from './steps.ts'
import { dayMs, plane, submit, runNext } from './key-stage.ts'

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
