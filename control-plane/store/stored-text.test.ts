/**
 * Text of jobs on the disk of the control plane: sealed, forgotten on time, and nowhere in unused parts of the file.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { test, type TestContext } from 'node:test'
import Database from 'better-sqlite3'
import { type Client, createClient } from '../../shared/api/client.ts'
import { controlPlaneFolder } from '../../shared/home.ts'
import { ownControlPlaneKey } from '../../shared/identity/control-plane-key.ts'
import { silentLogger } from '../../shared/log.ts'
import type { Job, JobEvent } from '../../shared/schema/job.ts'
import { createServices } from '../service/services.ts'
import { leastKeptMs, unreadMs } from '../service/text-keeper.ts'
import { openDatabase } from './database.ts'
import type { JobStore } from './job-store.ts'
import {
  createPool,
  eventually,
  FakeAgent,
  type Plane,
  quickSettings,
  startPlane,
  submission,
  type TestDevice,
  type TestPool,
} from '../test/plane.ts'
import { activeRing, done } from '../test/steps.ts'

const marker = 'XYZZYMARKER'
const settings = { ...quickSettings, leaseMs: 60_000 }

/** What somebody finds who copies the folder, the key aside. */
const isOnDisk = (folder: string, text = marker): boolean =>
  readdirSync(folder)
    .filter((name) => name.startsWith('mesh.sqlite'))
    .some((name) => readFileSync(join(folder, name)).includes(text))

const folderOf = (t: TestContext): string => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-texts-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

interface Stage {
  readonly plane: Plane
  readonly pool: TestPool
  readonly leader: FakeAgent
  readonly epoch: number
  /** Of that device, whose clock is that of the plane. */
  clientOf(device: TestDevice, url?: string): Client
  readonly client: Client
  events(jobId: string): Promise<JobEvent[]>
  job(jobId: string): Promise<Job>
  submit(key: string): Promise<string>
  /** The ring runs the job to that end. */
  run(key: string, end?: 'done' | 'failed' | 'cancelled'): Promise<string>
}

const stage = async (t: TestContext, plane: Plane, now: () => number = Date.now): Promise<Stage> => {
  const pool = await createPool(plane.url)
  const {
    agents: [leader],
    epoch,
  } = await activeRing(t, pool, plane.url, 1)
  const clientOf = ({ key, certificates }: TestDevice, url = plane.url): Client =>
    createClient({ url, key, now, certificateOf: (poolId) => certificates.get(poolId) })
  const client = clientOf(pool.admin)
  const submit = async (key: string): Promise<string> =>
    (
      await client.call('submitJob', {
        params: { poolId: pool.poolId },
        body: submission(key, { prompt: `a ${marker}`, stop: [marker] }),
      })
    ).jobId
  const run: Stage['run'] = async (key, end = 'done') => {
    const jobId = await submit(key)
    await leader.next('job-assign')
    leader.send({ type: 'job-tokens', jobId, epoch, firstIndex: 0, tokens: [1], text: `${marker} ` })
    if (end === 'done') leader.send(done(jobId, epoch, `${marker} end`, [1, 2]))
    else if (end === 'cancelled')
      leader.send({ ...done(jobId, epoch, marker, [1]), finishReason: 'cancelled' } as Parameters<FakeAgent['send']>[0])
    else
      leader.send({
        type: 'job-failed',
        jobId,
        epoch,
        error: { code: 'rankFailed', message: `said ${marker}`, hint: '', fields: { problem: marker } },
      })
    await leader.next('job-settled')
    return jobId
  }
  return {
    plane,
    pool,
    leader,
    epoch,
    submit,
    run,
    client,
    clientOf,
    events: (jobId) => eventsOf(client, pool.poolId, jobId),
    job: (jobId) => client.call('getJob', { params: { poolId: pool.poolId, jobId } }),
  }
}

test('stored text: no file of the database holds any, and the next process reads it', async (t) => {
  const first = await startPlane(t, undefined, settings)
  const { pool, job, run, submit, leader, epoch } = await stage(t, first)
  const ids = {
    done: await run('done'),
    failed: await run('failed', 'failed'),
    cancelled: await run('cancelled', 'cancelled'),
  }
  const running = await submit('running')
  await leader.next('job-assign')
  leader.send({ type: 'job-tokens', jobId: running, epoch, firstIndex: 0, tokens: [1], text: marker })
  await leader.unread()
  const waiting = await submit('waiting')
  assert.ok(!isOnDisk(first.folder))
  const before = await Promise.all([...Object.values(ids), running, waiting].map(job))
  assert.deepEqual(
    before.map(({ text }) => text),
    [`${marker} end`, `${marker} `, marker, marker, ''],
  )
  assert.deepEqual(
    before.map(({ submission: { prompt, stop, idempotencyKey } }) => [prompt, stop, idempotencyKey?.length]),
    before.map((_, index) => [
      `a ${marker}`,
      [marker],
      `key-${['done', 'failed', 'cancelled', 'running', 'waiting'][index]}-12345`.length,
    ]),
  )
  assert.ok(before[1].error?.message.includes(`said ${marker}`))
  const streamed = await eventsOf(pool.admin.client(first.url), pool.poolId, ids.done)
  await first.stop()
  assert.ok(!isOnDisk(first.folder))

  const second = await startPlane(t, first.folder, settings)
  const client = pool.admin.client(second.url)
  const again = await Promise.all(
    [...Object.values(ids), running, waiting].map((jobId) =>
      client.call('getJob', { params: { poolId: pool.poolId, jobId } }),
    ),
  )
  assert.deepEqual(again, before)
  assert.deepEqual(await eventsOf(client, pool.poolId, ids.done), streamed)
})

test('stored text: what an older version wrote is sealed step by step, and what it deleted is gone from the file', async (t) => {
  const folder = folderOf(t)
  const file = join(folder, 'mesh.sqlite')
  openDatabase(file).close()
  const raw = new Database(file)
  raw.pragma('application_id = 0')
  raw.exec("insert into networks values ('home', 1)")
  raw.exec(
    `insert into pools (pool_id, network_id, name, root_public_key, created_at) values ('${'a'.repeat(64)}', ` +
      `'home', 'P', 'k', 1)`,
  )
  const insertJob = raw.prepare(
    'insert into jobs (job_id, pool_id, submitted_by, idempotency_key, model_id, submission, state, world_size, ' +
      'epoch, received, result, created_at, finished_at) values (?, ?, ?, ?, ?, ?, ?, 0, 0, ?, ?, 5, ?)',
  )
  const insertEvent = raw.prepare('insert into job_events (job_id, sequence, event) values (?, ?, ?)')
  const jobs = 12
  raw.transaction(() => {
    for (let n = 0; n < jobs; n++) {
      const jobId = `job_${n}`
      const isOpen = n % 4 === 0
      const answer = {
        text: `${marker} `.repeat(300),
        tokens: Array.from({ length: 300 }, () => 7),
        finishReason: 'stop',
        error: n % 4 === 1 ? { code: 'jobLost', message: marker } : undefined,
      }
      insertJob.run(
        jobId,
        'a'.repeat(64),
        'd'.repeat(64),
        `${marker}-${n}`,
        'tiny',
        JSON.stringify(submission(`${n}`, { prompt: `${marker} `.repeat(500) })),
        isOpen ? 'queued' : 'done',
        300,
        isOpen ? null : JSON.stringify(answer),
        isOpen ? null : Date.now(),
      )
      for (let sequence = 0; sequence < 300; sequence++)
        insertEvent.run(
          jobId,
          sequence,
          JSON.stringify({ sequence, type: 'tokens', firstIndex: sequence, tokens: [7], text: `${marker} ` }),
        )
      insertEvent.run(
        jobId,
        300,
        JSON.stringify({
          sequence: 300,
          type: isOpen ? 'state' : 'end',
          ...(isOpen ? { state: 'queued', worldSize: 0 } : { job: { jobId, text: marker } }),
        }),
      )
    }
    // of before: deleted without being written over
    raw.exec('create table old (value text)')
    for (let n = 0; n < 200; n++) raw.prepare('insert into old values (?)').run(`deleted ${marker} `.repeat(100))
    raw.exec('drop table old')
  })()
  raw.pragma('wal_checkpoint(TRUNCATE)')
  raw.close()
  assert.ok(isOnDisk(folder))

  const { jobStore, stop, longestMs } = await openPlane(t, folder)
  // at any moment the text is there
  const stopped = jobStore.find('job_1')
  assert.deepEqual(
    [stopped?.text.length, stopped?.error?.message, stopped?.submission.prompt?.length],
    [300 * 12, marker, 500 * 12],
  )
  await eventually('nothing plain is left on the disk', async () => !isOnDisk(folder))
  for (const index of [0, 1, 2, jobs - 1]) {
    const job = jobStore.find(`job_${index}`)
    assert.deepEqual(
      [job?.text, job?.tokens.length, job?.submission.prompt, job?.withheld],
      [`${marker} `.repeat(300), 300, `${marker} `.repeat(500), undefined],
    )
    assert.equal(jobStore.events(`job_${index}`, -1).length, 301)
    assert.equal(
      jobStore.findByKey({ poolId: 'a'.repeat(64), submittedBy: 'd'.repeat(64), idempotencyKey: `${marker}-${index}` })
        ?.jobId,
      `job_${index}`,
    )
  }
  assert.ok(longestMs() < 2000, `held up for ${longestMs()} ms`)
  await stop()
  assert.ok(!isOnDisk(folder))
})

test('stored text: under another key it counts as forgotten; metadata lives, and nothing ends', async (t) => {
  const first = await startPlane(t, undefined, settings)
  const { pool, run, submit, leader, job } = await stage(t, first)
  const ended = await run('ended')
  const running = await submit('running')
  await leader.next('job-assign')
  const waiting = await submit('waiting')
  const usage = (await job(ended)).usage
  await first.stop()
  rmSync(join(first.folder, 'control-plane.key'))

  const second = await startPlane(t, first.folder, settings)
  const client = pool.admin.client(second.url)
  const params = { poolId: pool.poolId }
  const seen = await client.call('getJob', { params: { ...params, jobId: ended } })
  assert.deepEqual(
    [seen.state, seen.withheld, seen.text, seen.submission.prompt, seen.answered, seen.usage],
    ['done', 'forgotten', '', undefined, 2, usage],
  )
  assert.equal((await eventsOf(client, pool.poolId, ended)).at(-1)?.type, 'end')
  await assert.rejects(client.call('submitJob', { params, body: submission('ended', { prompt: `a ${marker}` }) }), {
    code: 'jobForgotten',
  })
  // the ring ends what it runs; what waits cannot be run, and does not stand in the way
  const back = await FakeAgent.connect(t, leader.device, second.url)
  const { ring } = await back.next('ring-epoch')
  back.ready(ring.ringId, ring.epoch)
  back.send(done(running, ring.epoch, `${marker} end`, [1, 2]))
  await back.next('job-settled')
  await eventually(
    'the job that waits has failed',
    async () => (await client.call('getJob', { params: { ...params, jobId: waiting } })).state === 'failed',
  )
  const next = await client.call('submitJob', { params, body: submission('next') })
  assert.equal((await back.next('job-assign')).jobId, next.jobId)
  assert.ok(!isOnDisk(first.folder))
})

for (const [keepMs, name] of [
  [3 * 86_400_000, 'three days'],
  [1, 'a minute at least'],
] as const) {
  test(`stored text: kept for ${name} after the end of a job, however it ended, then forgotten`, async (t) => {
    let at = Date.now()
    const kept = Math.max(keepMs, leastKeptMs)
    const plane = await startPlane(
      t,
      undefined,
      { ...settings, leaseMs: 1e9, texts: { keepMs, everyMs: 20 } },
      () => at,
    )
    const { run, submit, job, leader, client, pool, events } = await stage(t, plane, () => at)
    const ids = [await run('done'), await run('failed', 'failed'), await run('cancelled', 'cancelled')]
    const open = await submit('open')
    await leader.next('job-assign')
    at += kept - 1000
    await new Promise((resolve) => setTimeout(resolve, 60))
    assert.deepEqual(
      (await Promise.all(ids.map(job))).map(({ withheld }) => withheld),
      [undefined, undefined, undefined],
    )
    const pieces = piecesIn(plane.folder)
    at += 2000
    await eventually('all that ended is forgotten', async () =>
      (await Promise.all(ids.map(job))).every(({ withheld }) => withheld === 'forgotten'),
    )
    assert.equal((await job(open)).submission.prompt, `a ${marker}`) // what has not ended is still needed
    for (const [index, jobId] of ids.entries()) {
      const { state, text, tokens, answered, error, submission: asked } = await job(jobId)
      assert.deepEqual(
        [state, text, tokens, answered, error?.message, asked.prompt, asked.stop],
        [
          ['done', 'failed', 'cancelled'][index],
          '',
          [],
          [2, 1, 1][index],
          index === 1 ? 'failed: rankFailed' : undefined,
          undefined,
          [],
        ],
      )
      const seen = await events(jobId)
      assert.deepEqual([seen.filter(({ type }) => type === 'tokens').length, seen.at(-1)?.type], [0, 'end'])
    }
    // asking once more under the same key says so, and runs nothing
    await assert.rejects(
      client.call('submitJob', {
        params: { poolId: pool.poolId },
        body: submission('done', { prompt: `a ${marker}` }),
      }),
      { code: 'jobForgotten' },
    )
    // not even sealed: somebody may come by the key later
    await eventually(
      'its sealed pieces are gone too',
      async () => pieces.length === 4 && pieces.every((piece) => !isOnDisk(plane.folder, piece)),
    )
  })
}

test('stored text: kept for 0, it goes a minute after its submitter read it, ten minutes after the end if nobody did', async (t) => {
  let at = Date.now()
  const plane = await startPlane(
    t,
    undefined,
    { ...settings, leaseMs: 1e9, texts: { keepMs: 0, everyMs: 20 } },
    () => at,
  )
  const { pool, run, leader, client, clientOf, events } = await stage(t, plane, () => at)
  const member = clientOf(await pool.member('Curious'))
  const byOther = (jobId: string): Promise<Job> => member.call('getJob', { params: { poolId: pool.poolId, jobId } })
  const isForgotten = async (jobId: string): Promise<boolean> => (await byOther(jobId)).withheld === 'forgotten'
  const [read, unread] = [await run('read'), await run('unread')]
  assert.equal((await events(read)).at(-1)?.type, 'end')
  await byOther(unread) // others do not count
  at += leastKeptMs - 1
  await leader.unread()
  await new Promise((resolve) => setTimeout(resolve, 60))
  // a client that lost its connection reads it again
  assert.deepEqual((await events(read)).filter(({ type }) => type === 'tokens').length, 2)
  at += 1
  await eventually('what was read is forgotten', async () =>
    (await events(read)).every(({ type }) => type !== 'tokens'),
  )
  assert.equal(
    (await client.call('listJobs', { params: { poolId: pool.poolId } })).find(({ jobId }) => jobId === unread)
      ?.withheld,
    undefined,
  )
  at += unreadMs
  await eventually('what nobody read too', async () =>
    (await client.call('listJobs', { params: { poolId: pool.poolId } })).every(
      ({ withheld }) => withheld === 'forgotten',
    ),
  )
  assert.equal(await isForgotten(unread), false) // to others it is private first
})

test('stored text: a clock that ran ahead keeps none longer, over a restart', async (t) => {
  let at = Date.now()
  const texts = { keepMs: 86_400_000, everyMs: 20 }
  const first = await startPlane(t, undefined, { ...settings, leaseMs: 1e9, texts }, () => at)
  const { pool, run, clientOf } = await stage(t, first, () => at)
  at += 3 * 86_400_000 // runs ahead
  const ahead = await run('ahead')
  await first.stop()
  at -= 3 * 86_400_000 // is set right
  const second = await startPlane(t, first.folder, { ...settings, leaseMs: 1e9, texts }, () => at)
  const job = (jobId: string): Promise<Job> =>
    clientOf(pool.admin, second.url).call('getJob', { params: { poolId: pool.poolId, jobId } })
  assert.equal((await job(ahead)).withheld, undefined)
  await new Promise((resolve) => setTimeout(resolve, 100))
  at += 86_400_000 + 1000
  await eventually('it is kept no longer than others', async () => (await job(ahead)).withheld === 'forgotten')
})

/** All events of a job that has ended. */
const eventsOf = async (client: Client, poolId: string, jobId: string): Promise<JobEvent[]> => {
  const answer = await client.open('jobEvents', { params: { poolId, jobId } })
  return [...(await answer.text()).matchAll(/^data: (.*)$/gm)].map(([, data]) => JSON.parse(data) as JobEvent)
}

/** The services on a folder, without HTTP, and how long they held the process up. */
const openPlane = async (
  t: TestContext,
  folder: string,
): Promise<{ jobStore: JobStore; stop(): Promise<void>; longestMs(): number }> => {
  const lag = monitorEventLoopDelay({ resolution: 5 })
  const database = openDatabase(join(folder, 'mesh.sqlite'))
  lag.enable()
  const services = createServices(database, settings, {
    now: Date.now,
    logger: silentLogger(),
    key: ownControlPlaneKey(controlPlaneFolder(folder).key),
  })
  let isOpen = true
  const stop = async (): Promise<void> => {
    if (isOpen) services.stop()
    if (isOpen) database.close()
    isOpen = false
  }
  t.after(stop)
  return { jobStore: services.jobStore, stop, longestMs: () => lag.max / 1e6 }
}

/** Sealed pieces that lie in the file now, as text of one byte a character. */
const piecesIn = (folder: string): string[] => {
  const raw = new Database(join(folder, 'mesh.sqlite'), { readonly: true })
  try {
    return (raw.prepare('select piece from job_events where piece is not null').pluck().all() as Buffer[]).map(
      (piece) => piece.toString('latin1'),
    )
  } finally {
    raw.close()
  }
}
