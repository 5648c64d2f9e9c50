/** A control plane with jobs whose texts are looked for on its disk. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext } from 'node:test'
import { type Client, createClient } from '../../shared/api/client.ts'
import type { Job, JobEvent } from '../../shared/schema/job.ts'
import {
  createPool,
  FakeAgent,
  type Plane,
  quickSettings,
  submission,
  type TestDevice,
  type TestPool,
} from './plane.ts'
import { activeRing, done } from './steps.ts'

export const marker = 'XYZZYMARKER'

export const settings = { ...quickSettings, leaseMs: 60_000 }

/** What somebody finds who copies the folder, the key aside. */
export const isOnDisk = (folder: string, text = marker): boolean =>
  readdirSync(folder)
    .filter((name) => name.startsWith('mesh.sqlite'))
    .some((name) => readFileSync(join(folder, name)).includes(text))

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

export const stage = async (t: TestContext, plane: Plane, now: () => number = Date.now): Promise<Stage> => {
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

/** All events of a job that has ended. */
export const eventsOf = async (client: Client, poolId: string, jobId: string): Promise<JobEvent[]> => {
  const answer = await client.open('jobEvents', { params: { poolId, jobId } })
  return [...(await answer.text()).matchAll(/^data: (.*)$/gm)].map(([, data]) => JSON.parse(data) as JobEvent)
}
