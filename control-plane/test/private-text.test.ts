/** Text of a job is for who submitted it: derived from the route table, for every route and kind of sender. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { Client } from '../../shared/api/client.ts'
import { type RouteName, type RouteRecord, routes } from '../../shared/api/routes.ts'
import { newKeyPair } from '../../shared/identity/keys.ts'
import { signCharter } from '../../shared/identity/pool-charter.ts'
import { MeshError } from '../../shared/errors.ts'
import type { Job, JobSubmission } from '../../shared/schema/job.ts'
import { createKey, createPool, FakeAgent, quickSettings, startPlane, submission, type TestPool } from './plane.ts'
import { activeRing, done, type Ring } from './steps.ts'

const marker = 'XYZZYMARKER'

/** Jobs of `client`, one in each state, with the marker wherever text can be. */
const plantJobs = async (
  client: Client,
  { poolId }: TestPool,
  { agents: [leader], epoch }: Ring,
  name: string,
): Promise<Record<string, string>> => {
  const params = { poolId }
  const body = (key: string) => ({
    ...submission('', { prompt: `a ${marker}`, stop: [`stop ${marker}`] }),
    idempotencyKey: `${marker}-${name}-${key}`,
  })
  const report = {
    code: 'rankFailed',
    message: `quotes ${marker}`,
    hint: `see ${marker}`,
    fields: { problem: marker, peer: marker, [marker]: 1 },
  }
  const ids: Record<string, string> = {}
  for (const end of ['done', 'failed', 'running', 'queued', 'cancelled']) {
    const { jobId } = await client.call('submitJob', { params, body: body(end) })
    ids[end] = jobId
    if (end === 'cancelled') await client.call('cancelJob', { params: { ...params, jobId } })
    if (end === 'queued' || end === 'cancelled') continue
    assert.equal((await leader.next('job-assign')).jobId, jobId)
    leader.send({ type: 'job-started', jobId, epoch, promptTokens: 1 })
    leader.send({ type: 'job-tokens', jobId, epoch, firstIndex: 0, tokens: [1234567], text: marker })
    if (end === 'done') leader.send(done(jobId, epoch, `${marker} more`, [1234567, 7]))
    if (end === 'failed') leader.send({ type: 'job-failed', jobId, epoch, error: report })
    if (end !== 'running') await leader.next('job-settled')
  }
  await leader.unread() // what was sent has been handled
  return ids
}

/** Everything that a sender gets of a route, as text; of a stream what comes at once. */
const answerOf = async (
  client: Client,
  name: RouteName,
  params: Record<string, string>,
  body: unknown,
): Promise<string> => {
  const enough = new AbortController()
  let text = ''
  try {
    const answer = await client.open(name, {
      params,
      body,
      signal: enough.signal,
      headers: { 'mesh-events': 'waiting' },
    })
    const isEndless = answer.headers.get('content-type') === 'text/event-stream'
    const timer = isEndless ? setTimeout(() => enough.abort(), 150) : undefined
    const decoder = new TextDecoder()
    for await (const part of answer.body as unknown as AsyncIterable<Uint8Array>)
      text += decoder.decode(part, { stream: true })
    clearTimeout(timer)
  } catch (error) {
    if (!enough.signal.aborted) text += JSON.stringify(MeshError.from(error).toReport())
  }
  return text
}

interface Asked {
  readonly pool: TestPool
  readonly ring: Ring
  readonly senders: Record<string, Client>
  /** Of the owner, by their state. */
  readonly jobs: Readonly<Record<string, string>>
}

const setUp = async (t: TestContext, charter?: Parameters<typeof createPool>[1]): Promise<Asked> => {
  const { url } = await startPlane(t, undefined, { ...quickSettings, leaseMs: 60_000 }) // agents that say nothing stay
  const pool = await createPool(url, charter)
  const ring = await activeRing(t, pool, url, 3)
  const [, follower, third] = ring.agents
  const owner = follower.device
  const [key, otherKey, keyOfThird] = [
    await createKey(owner, pool, url),
    await createKey(owner, pool, url),
    await createKey(third.device, pool, url),
  ]
  const stranger = await createPool(url)
  const jobs = await plantJobs(owner.client(url), pool, ring, 'device')
  const senders = {
    owner: owner.client(url),
    key: key.app,
    otherKey: otherKey.app,
    keyOfThird: keyOfThird.app,
    member: third.device.client(url),
    admin: pool.admin.client(url),
    adminOfOther: stranger.admin.client(url),
  }
  return { pool, ring, senders, jobs }
}

/** Routes with the marker in what a sender gets of them, as `route of job`. */
const leaks = async ({ pool, senders, jobs }: Asked, sender: string): Promise<Set<string>> => {
  const found = new Set<string>()
  for (const [name, route] of Object.entries(routes) as [RouteName, RouteRecord][]) {
    if (name === 'agentSocket' || (name === 'cancelJob' && sender === 'owner')) continue
    for (const [state, jobId] of Object.entries(route.path.includes(':jobId') ? jobs : { any: '' })) {
      const text = await answerOf(
        senders[sender],
        name,
        { poolId: pool.poolId, jobId, keyId: 'a'.repeat(16) },
        route.method === 'POST' ? {} : undefined,
      )
      if (text.includes(marker) || text.includes('1234567')) found.add(`${name} ${state}`)
    }
  }
  return found
}

test('text: who did not submit a job gets none of it, from no route and no stream', { timeout: 300_000 }, async (t) => {
  const asked = await setUp(t)
  const { pool, ring, senders, jobs: ids } = asked
  // the test looks where text is: its owner finds it
  assert.deepEqual(
    [...(await leaks(asked, 'owner'))].toSorted(),
    [
      ...['cancelled', 'done', 'failed', 'queued', 'running'].map((state) => `getJob ${state}`),
      ...['cancelled', 'done', 'failed', 'running'].map((state) => `jobEvents ${state}`),
      'listJobs any',
    ].toSorted(),
  )
  for (const sender of Object.keys(senders).filter((name) => name !== 'owner'))
    assert.deepEqual([...(await leaks(asked, sender))], [], sender)
  const params = { poolId: pool.poolId, jobId: ids.done }
  const seen: Job = await senders.member.call('getJob', { params })
  assert.deepEqual(
    [
      seen.withheld,
      seen.state,
      seen.answered,
      seen.usage?.totalTokens,
      seen.submission.modelId,
      seen.text,
      seen.tokens,
    ],
    ['private', 'done', 2, 3, 'tiny', '', []],
  )
  await assert.rejects(senders.admin.open('jobEvents', { params }), { code: 'jobPrivate' })
  await assert.rejects(senders.otherKey.call('getJob', { params }), { code: 'notFound' })
  // the same idempotency key of another is another job
  const own = await senders.member.call('submitJob', {
    params,
    body: { ...submission('', { prompt: 'mine' }), idempotencyKey: `${marker}-device-done` },
  })
  assert.ok(own.jobId !== ids.done && own.submission.prompt === 'mine')
  // whoever only follows in the ring hears nothing of it either
  for (const agent of ring.agents.slice(1)) assert.ok(!JSON.stringify(await agent.unread()).includes(marker))
  // an admin may end a job of others, and still reads nothing
  const cancelled = await senders.admin.call('cancelJob', { params: { ...params, jobId: ids.queued } })
  assert.deepEqual([cancelled.withheld, JSON.stringify(cancelled).includes(marker)], ['private', false])
})

test('text: a job of an app is for that key and the device that made it', { timeout: 300_000 }, async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const ring = await activeRing(t, pool, url, 2)
  const owner = ring.agents[1].device
  const [key, other] = [await createKey(owner, pool, url), await createKey(owner, pool, url)]
  const ids = await plantJobs(key.app, pool, ring, 'key')
  const readers = { key: key.app, otherKey: other.app, owner: owner.client(url), admin: pool.admin.client(url) }
  for (const [name, client] of Object.entries(readers)) {
    const texts = [
      await answerOf(client, 'getJob', { poolId: pool.poolId, jobId: ids.done }, undefined),
      await answerOf(client, 'jobEvents', { poolId: pool.poolId, jobId: ids.done }, undefined),
    ]
    assert.deepEqual(
      texts.map((text) => text.includes(marker)),
      Array.from(texts, () => name === 'key' || name === 'owner'),
      name,
    )
  }
})

test('text: a sealed prompt passes as it is, its key is shown with the certificate of rank 0, and it counts as what it can hold', async (t) => {
  const { url } = await startPlane(t, undefined, { ...quickSettings, leaseMs: 60_000 })
  const pool = await createPool(url)
  const {
    agents: [leader],
    ringId,
    epoch,
  } = await activeRing(t, pool, url, 1)
  const client = pool.admin.client(url)
  const params = { poolId: pool.poolId }
  const sealingOf = async (): Promise<unknown> => (await client.call('listRings', { params }))[0].sealing
  assert.equal(await sealingOf(), undefined) // an agent of before gives none
  leader.send({ type: 'ring-state', ringId, epoch, state: 'ready', progress: 1, sealingKey: 'AAAA' })
  await leader.unread()
  const sealing = { key: 'AAAA', certificate: pool.admin.certificates.get(pool.poolId) }
  assert.deepEqual(await sealingOf(), sealing)
  const { app } = await createKey(pool.admin, pool, url, { tokensPerDay: 1000 })
  assert.deepEqual((await app.call('listRings', { params }))[0].sealing, sealing)

  const sealed = { keyId: 'a'.repeat(32), enc: 'A'.repeat(43), box: 'B'.repeat(1200) }
  const asked = (key: string, change: Partial<JobSubmission> = {}): JobSubmission =>
    submission(key, { prompt: undefined, sealed, ...change })
  for (const wrong of [
    { prompt: 'x' },
    { messages: [{ role: 'user', content: 'x' }] },
    { stop: ['x'] },
    { special: true },
    { sealed: undefined },
  ] as const) {
    await assert.rejects(
      client.call('submitJob', { params, body: asked('wrong', wrong as Partial<JobSubmission>) }),
      { code: 'requestInvalid' },
      JSON.stringify(wrong),
    )
  }
  const { jobId } = await app.call('submitJob', { params, body: asked('right') })
  assert.equal((await app.call('getKey', {})).reserved, (1200 * 3) / 4 / 3 + 5)
  const { submission: given } = await leader.next('job-assign')
  // the key of who asked is not for rank 0
  assert.deepEqual([given.sealed, given.stop, given.idempotencyKey], [sealed, [], jobId])
  leader.send({ type: 'job-failed', jobId, epoch, error: { code: 'sealStale', message: 'x' } })
  await leader.next('job-settled')
  const job = await app.call('getJob', { params: { ...params, jobId } })
  // nothing is kept of what failed
  assert.deepEqual([job.state, job.submission.sealed, job.promptCut], ['failed', undefined, true])
  // sealing it again costs once
  assert.deepEqual([(await app.call('getKey', {})).usedToday, (await app.call('getKey', {})).reserved], [0, 0])
})

test(
  'text: admins read it where the root key signed that when the pool was made, and nowhere else',
  { timeout: 300_000 },
  async (t) => {
    const asked = await setUp(t, (root) => signCharter(root, { adminsReadText: true }))
    assert.ok((await leaks(asked, 'admin')).has('jobEvents done'))
    for (const sender of ['member', 'keyOfThird', 'otherKey', 'adminOfOther'])
      assert.deepEqual([...(await leaks(asked, sender))], [], sender)

    const { url } = await startPlane(t)
    const publish = (pool: TestPool, charter: string): Promise<unknown> =>
      pool.admin.client(url).call('createPool', {
        body: {
          poolId: pool.poolId,
          networkId: 'home',
          name: 'friends',
          rootPublicKey: pool.rootPublicKey,
          certificate: pool.admin.certificates.get(pool.poolId) as string,
          charter,
        },
      })
    const plain = await createPool(url)
    await publish(plain, signCharter(plain.root, { adminsReadText: true })) // too late
    const charterOf = async (pool: TestPool): Promise<unknown> =>
      (await pool.admin.client(url).call('getCharter', { params: { poolId: pool.poolId } })).charter
    assert.equal(await charterOf(plain), undefined)
    await assert.rejects(
      createPool(url, () => signCharter(newKeyPair(), { adminsReadText: true })),
      { code: 'charterInvalid' },
    )
    const made = await createPool(url, (root) => signCharter(root, { adminsReadText: true }))
    await publish(made, signCharter(made.root, { adminsReadText: false }))
    assert.equal(await charterOf(made), signCharter(made.root, { adminsReadText: true }))
    await FakeAgent.connect(t, made.admin, url)
  },
)
