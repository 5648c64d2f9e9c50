/** Prompts and answers on the disk of the control plane: sealed, and nothing without its key. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { test, type TestContext } from 'node:test'
import Database from 'better-sqlite3'
import { controlPlaneFolder } from '../../shared/home.ts'
import { ownControlPlaneKey } from '../../shared/identity/control-plane-key.ts'
import { silentLogger } from '../../shared/log.ts'
import { createServices } from '../service/services.ts'
import { openDatabase } from './database.ts'
import type { JobStore } from './job-store.ts'
import { eventually, FakeAgent, startPlane, submission } from '../test/plane.ts'
import { done } from '../test/steps.ts'
import { marker, settings, isOnDisk, stage, eventsOf } from '../test/stored-texts.ts'

const folderOf = (t: TestContext): string => {
  const folder = mkdtempSync(join(tmpdir(), 'mesh-texts-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
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
