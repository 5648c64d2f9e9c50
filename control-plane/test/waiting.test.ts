/** What a job waits for, as whoever follows it is told. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { createParser } from 'eventsource-parser'
import { Value } from 'typebox/value'
import { JobWaiting } from '../../shared/schema/job.ts'
import { createPool, eventually, FakeAgent, startPlane, submission, type TestDevice, type TestPool } from './plane.ts'
import { activeRing, done, epochWith, join } from './steps.ts'

interface Follower {
  /** What the job waits for, oldest first. */
  readonly said: JobWaiting[]
  /** The newest says that. */
  says(before: number, reason: RegExp): Promise<void>
}

/** Follows a job and asks what it waits for. */
const follow = async (
  t: TestContext,
  device: TestDevice,
  { poolId, url, jobId }: { readonly poolId: string; readonly url: string; readonly jobId: string },
): Promise<Follower> => {
  const said: JobWaiting[] = []
  const stop = new AbortController()
  t.after(() => stop.abort())
  const answer = await device
    .client(url)
    .open('jobEvents', { params: { poolId, jobId }, headers: { 'mesh-events': 'waiting' }, signal: stop.signal })
  const parser = createParser({
    onEvent: ({ event, data, id }) => {
      if (event !== 'waiting') return
      const waiting: unknown = JSON.parse(data)
      assert.ok(Value.Check(JobWaiting, waiting), data)
      assert.equal(id, undefined) // a client that comes back goes on after the last event that has one
      said.push(waiting)
    },
  })
  const decoder = new TextDecoder()
  const read = async (): Promise<void> => {
    for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>)
      parser.feed(decoder.decode(chunk, { stream: true }))
  }
  read().catch(() => undefined) // ended by the test
  return {
    said,
    says: (before, reason) =>
      eventually(
        `${before} before, ${String(reason)} in ${JSON.stringify(said)}`,
        async () => said.at(-1)?.before === before && reason.test(said.at(-1)?.reason ?? ''),
      ),
  }
}

const submit = async (device: TestDevice, { poolId }: TestPool, url: string, key: string): Promise<string> =>
  (await device.client(url).call('submitJob', { params: { poolId }, body: submission(key) })).jobId

test('waiting: a busy ring is told with the place in the queue, which moves as jobs end and are cancelled', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const member = await pool.member('Guest')
  const {
    agents: [leader],
    epoch,
  } = await activeRing(t, pool, url, 1)
  const jobIds: string[] = []
  for (let index = 0; index < 4; index++) jobIds.push(await submit(pool.admin, pool, url, `own-${index}`))
  const last = await follow(t, pool.admin, { poolId: pool.poolId, url, jobId: jobIds[3] })
  await last.says(3, /^$/)
  // members take turns, so one that comes later does not wait behind all of them
  const guest = await follow(t, member, { poolId: pool.poolId, url, jobId: await submit(member, pool, url, 'guest') })
  await last.says(4, /^$/)
  await eventually(
    `the guest waits before the last one: ${JSON.stringify(guest.said)}`,
    async () => (guest.said.at(-1)?.before ?? 9) < 4,
  )
  const end = async (): Promise<void> => {
    const { jobId } = await leader.next('job-assign')
    leader.send(done(jobId, epoch, 'x', [1]))
    await leader.next('job-settled')
  }
  await end()
  await last.says(3, /^$/)
  await pool.admin.client(url).call('cancelJob', { params: { poolId: pool.poolId, jobId: jobIds[2] } })
  await last.says(2, /^$/)
  await end()
  await last.says(1, /^$/)
  await end()
  await end()
  assert.deepEqual(
    last.said.map(({ before }) => before),
    [3, 4, 3, 2, 1],
  )
  assert.ok(last.said.every(({ error }) => error === undefined))
})

test('waiting: why a ring is not there yet is told, as it changes', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const member = await pool.member('Laptop')
  await join(member, pool, url)
  const told = await follow(t, pool.admin, {
    poolId: pool.poolId,
    url,
    jobId: await submit(pool.admin, pool, url, 'a'),
  })
  await told.says(0, /^no device is online; Laptop would serve it$/)
  const agent = await FakeAgent.connect(t, member, url)
  const { ringId, epoch } = await epochWith([agent], 1)
  await told.says(0, /^(loading|Laptop is loading)$/)
  agent.ready(ringId, epoch)
  await agent.next('job-assign')
  assert.equal(told.said.at(-1)?.error, undefined)
})

test('waiting: where no waiting helps, a prompt is refused at once, and who waits already is told so', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const laptop = await pool.member('Laptop')
  const agent = await FakeAgent.connect(t, laptop, url)
  await join(laptop, pool, url)
  const { ringId, epoch } = await epochWith([agent], 1)
  const told = await follow(t, pool.admin, {
    poolId: pool.poolId,
    url,
    jobId: await submit(pool.admin, pool, url, 'early'),
  })
  const fields = { modelId: 'tiny', got: 'a1', want: 'b2' }
  const failed = { type: 'ring-state', ringId, epoch, state: 'failed', progress: 0 } as const
  agent.send({ ...failed, error: { code: 'modelMismatch', message: 'as somebody else says it', fields } })
  const text = /^no ring can form for tiny: Laptop: model tiny here has revision a1, the ring uses b2$/
  await told.says(0, text)
  assert.equal(told.said.at(-1)?.error?.code, 'ringBlocked')
  await assert.rejects(submit(pool.admin, pool, url, 'late'), {
    code: 'ringBlocked',
    message: text,
    hint: /^on Laptop: give every device the same files; then there mesh join-ring --model-id tiny, or wait: it is tried again by itself, in \d+(\.\d)? s$/,
  })
  // it is mended: what waited goes on
  await join(laptop, pool, url)
  await told.says(0, /^Laptop is loading$/)
  assert.equal(told.said.at(-1)?.error, undefined)
  agent.ready(ringId, epoch)
  await agent.next('job-assign')
  // what passes by itself blocks nobody
  agent.send({ ...failed, error: { code: 'peerLost', message: 'lost' } })
  await submit(pool.admin, pool, url, 'again')
})

test('waiting: who does not ask is told of no such thing', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  await join(await pool.member('Laptop'), pool, url)
  const jobId = await submit(pool.admin, pool, url, 'a')
  const answer = await pool.admin.client(url).open('jobEvents', { params: { poolId: pool.poolId, jobId } })
  await pool.admin.client(url).call('cancelJob', { params: { poolId: pool.poolId, jobId } })
  assert.doesNotMatch(await answer.text(), /waiting/)
})
