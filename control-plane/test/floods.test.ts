/**
 * A member or an app gone bad, over real HTTP, sockets and SQLite: what floods the queue, and what others still get.
 */
import assert from 'node:assert/strict'
import { statSync } from 'node:fs'
import { join as joinPath } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { MeshError } from '../../shared/errors.ts'
import { type DeviceId, newJobId } from '../../shared/ids.ts'
import type { Client } from '../../shared/api/client.ts'
import { controlPlaneFolder } from '../../shared/home.ts'
import { ownControlPlaneKey } from '../../shared/identity/control-plane-key.ts'
import type { JobSubmission } from '../../shared/schema/job.ts'
import { limits } from '../../shared/limits.ts'
import { openDatabase } from '../store/database.ts'
import { JobStore } from '../store/job-store.ts'
import { JobTexts } from '../store/job-texts.ts'
import { TextVault } from '../store/text-vault.ts'
import { createKey, createPool, type FakeAgent, manifest, startPlane, submission, type TestPool } from './plane.ts'
import { activeRing, done, join } from './steps.ts'

const submit = async (
  app: Client,
  { poolId }: TestPool,
  name: string,
  change: Partial<JobSubmission> = {},
): Promise<string> => (await app.call('submitJob', { params: { poolId }, body: submission(name, change) })).jobId

const fail = async (leader: FakeAgent, jobId: string, epoch: number): Promise<void> => {
  const error = { code: 'promptTooLong', message: 'the prompt has 1010 tokens, the context holds 512' }
  leader.send({ type: 'job-failed', jobId, epoch, error })
  await leader.next('job-settled')
}

const storeOf = (t: TestContext, folder: string): JobStore => {
  const { store, close } = openDatabase(joinPath(folder, 'mesh.sqlite'))
  t.after(close)
  return new JobStore(
    store,
    new JobTexts(new TextVault(ownControlPlaneKey(controlPlaneFolder(folder).key).secretFor('text of jobs'))),
  )
}

for (const maker of ['a member', 'the admin']) {
  test(`floods: a key of ${maker} whose jobs all fail takes turns with the prompts of the admin`, async (t) => {
    const { url } = await startPlane(t)
    const pool = await createPool(url)
    const {
      agents: [leader],
      epoch,
    } = await activeRing(t, pool, url, 1)
    const { app } = await createKey(maker === 'the admin' ? pool.admin : await pool.member('Bad'), pool, url)
    const bad = new Set<string>()
    const flood = async (): Promise<unknown> => bad.add(await submit(app, pool, `bad-${bad.size}`))
    for (let index = 0; index < 20; index++) await flood()
    const own: string[] = []
    for (let index = 0; index < 3; index++) own.push(await submit(pool.admin.client(url), pool, `own-${index}`))
    const ran: string[] = []
    for (let turn = 0; turn < 12 && own.some((jobId) => !ran.includes(jobId)); turn++) {
      const { jobId } = await leader.next('job-assign')
      ran.push(jobId)
      if (!bad.has(jobId)) leader.send(done(jobId, epoch, 'x', [1]))
      else await Promise.all([flood(), fail(leader, jobId, epoch)]) // for each that failed comes another
    }
    const places = own.map((jobId) => ran.indexOf(jobId))
    // the first comes next; then the failures, which took next to no time, cost about as much as a job of two tokens
    assert.ok(
      places.every((place) => place >= 0),
      `the admin's jobs had turns ${places.join(', ')} of ${ran.length}`,
    )
    assert.ok(places[0] <= 2, places.join(', '))
  })
}

test('floods: a member that filled its queue is told so by name, and nobody else is kept out', async (t) => {
  const { url, folder } = await startPlane(t)
  const pool = await createPool(url)
  const {
    agents: [leader],
  } = await activeRing(t, pool, url, 1)
  await submit(pool.admin.client(url), pool, 'runs')
  await leader.next('job-assign')
  const bad = await pool.member('Bad')
  const keys = [await createKey(bad, pool, url), await createKey(bad, pool, url)]
  const jobs = storeOf(t, folder)
  const fill = (
    keyId: string,
    count: number,
    change: Partial<JobSubmission> = {},
    submittedBy = bad.deviceId,
  ): void => {
    for (let index = 0; index < count; index++)
      jobs.submit(
        newJobId(),
        { poolId: pool.poolId, submittedBy, keyId, submission: submission(newJobId(), change) },
        1,
      )
  }
  const first = await submit(keys[0].app, pool, 'first')
  fill(keys[0].keyId, limits.queuedJobsOfKey - 1)
  await assert.rejects(submit(keys[0].app, pool, 'more'), (error: MeshError) => {
    assert.equal(error.code, 'queueFull')
    assert.match(error.message, new RegExp(`API key ${keys[0].keyId} may have 50 jobs waiting`))
    return true
  })
  assert.equal(await submit(keys[0].app, pool, 'first'), first) // a repetition is no new job
  await submit(keys[1].app, pool, 'other key')
  fill('', limits.queuedJobsOfMember - limits.queuedJobsOfKey - 1)
  for (const client of [keys[1].app, bad.client(url)]) {
    await assert.rejects(submit(client, pool, 'more'), {
      code: 'queueFull',
      message: /this device, with its API keys, may have 100 jobs waiting/,
    })
  }
  const honest = await pool.member('Honest')
  await submit(honest.client(url), pool, 'honest')
  // many of them together fill the pool, and who has next to nothing in it still gets in
  for (let index = 2; index <= 10; index++)
    fill('', limits.queuedJobsOfMember, {}, `${index}`.padStart(64, 'b') as DeviceId)
  for (let index = 1; index < limits.queuedJobsAlways; index++)
    await submit(honest.client(url), pool, `honest-${index}`)
  await assert.rejects(submit(honest.client(url), pool, 'more'), {
    code: 'queueFull',
    message: /this pool may have 1000 jobs waiting/,
  })
  const answer = await fetch(`${url}/api/pools/${pool.poolId}/jobs`, {
    method: 'POST',
    headers: { authorization: `Bearer ${keys[0].text}`, 'content-type': 'application/json' },
    body: JSON.stringify(submission('more')),
  })
  assert.deepEqual([answer.status, answer.headers.get('retry-after')], [429, '5'])
})

test('floods: prompts that wait are bounded by their bytes, for a key and for a member', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const bad = await pool.member('Bad')
  await join(bad, pool, url) // its agent is away: nothing runs
  const keys = [await createKey(bad, pool, url), await createKey(bad, pool, url), await createKey(bad, pool, url)]
  // three bytes a character: two of them are allowed to a key, five to a member
  const messages = [{ role: 'user' as const, content: '漢'.repeat(limits.promptLength) }]
  const put = (app: Client, name: string): Promise<string> => submit(app, pool, name, { prompt: undefined, messages })
  for (const [index, { app }] of keys.entries()) {
    for (let count = 0; count < (index < 2 ? 2 : 1); count++) await put(app, `${index}/${count}`)
    if (index < 2)
      await assert.rejects(put(app, 'more'), {
        code: 'queueFull',
        message: /API key \w+ may have 8.* of prompts waiting/,
      })
  }
  await assert.rejects(put(keys[2].app, 'more'), {
    code: 'queueFull',
    message: /this device, with its API keys, may have 16.* of prompts waiting/,
  })
  await submit(bad.client(url), pool, 'small')
  await submit(pool.admin.client(url), pool, 'honest')
})

test('floods: what is surely too long is refused when it is submitted, and counts nowhere', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  await join(pool.admin, pool, url, { model: { ...manifest, charactersPerToken: 16 } })
  const client = pool.admin.client(url)
  const most = 16 * manifest.shape.context
  await assert.rejects(submit(client, pool, 'long', { prompt: 'x'.repeat(most) }), {
    code: 'promptTooLong',
    message: /at least 2048 tokens, the context holds 2048/,
  })
  await submit(client, pool, 'short', { prompt: 'x'.repeat(most - 1) })
  assert.equal((await client.call('listJobs', { params: { poolId: pool.poolId } })).length, 1)
})

test('floods: of prompts whose jobs failed or were cancelled the beginning is stored, not all', async (t) => {
  const { url, folder, stop } = await startPlane(t)
  const pool = await createPool(url)
  const {
    agents: [leader],
    epoch,
  } = await activeRing(t, pool, url, 1)
  const client = pool.admin.client(url)
  const prompt = `beginning ${'filler '.repeat(50_000)}`
  for (let index = 0; index < 10; index++) {
    const jobId = await submit(client, pool, `bad-${index}`, { prompt })
    await leader.next('job-assign')
    if (index > 0) await fail(leader, jobId, epoch)
    else {
      await client.call('cancelJob', {
        params: { poolId: pool.poolId, jobId: await submit(client, pool, 'waits', { prompt }) },
      })
      leader.send(done(jobId, epoch, 'x', [1]))
      await leader.next('job-settled')
    }
  }
  const jobs = await client.call('listJobs', { params: { poolId: pool.poolId } })
  assert.deepEqual(jobs.map(({ state }) => state).toSorted(), [
    'cancelled',
    'done',
    ...Array.from({ length: 9 }, () => 'failed'),
  ])
  for (const {
    state,
    promptCut,
    submission: { prompt: kept = '' },
  } of jobs) {
    assert.deepEqual(
      [promptCut, kept.length],
      state === 'done' ? [undefined, prompt.length] : [true, limits.keptPromptLength],
    )
    assert.ok(prompt.startsWith(kept))
  }
  await stop()
  const { size } = statSync(joinPath(folder, 'mesh.sqlite'))
  assert.ok(size < 8 * prompt.length, `${size} bytes for 11 prompts of ${prompt.length}, one of which was answered`)
})
