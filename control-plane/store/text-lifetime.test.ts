/** How long prompts and answers are kept, by the clock of the test. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import Database from 'better-sqlite3'
import type { Job } from '../../shared/schema/job.ts'
import { leastKeptMs, unreadMs } from '../service/text-keeper.ts'
import { eventually, startPlane, submission } from '../test/plane.ts'

import { marker, settings, isOnDisk, stage } from '../test/stored-texts.ts'

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
