/** A control plane with a clock, and jobs that apps submit by their keys. */
import { type TestContext } from 'node:test'
import { type Client } from '../../shared/api/client.ts'
import type { Job, JobSubmission } from '../../shared/schema/job.ts'
import { defaultCreditSettings } from '../service/credits.ts'
import { FakeAgent, type Plane, quickSettings, startPlane, submission, type TestPool } from './plane.ts'
import { done } from './steps.ts'

export const dayMs = 86_400_000

interface ClockedPlane extends Plane {
  now(): number
  pass(ms: number): void
}

/**
 * A control plane whose clock the test moves. It never starts within a minute of midnight UTC, where quotas begin anew.
 */
export const plane = async (t: TestContext, folder?: string): Promise<ClockedPlane> => {
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

export const submit = (
  app: Client,
  { poolId }: TestPool,
  name: string,
  change: Partial<JobSubmission> = {},
): Promise<Job> => app.call('submitJob', { params: { poolId }, body: submission(name, change) })

/** Rank 0 runs the next job: one token of prompt and `count` of answer. */
export const runNext = async (leader: FakeAgent, epoch: number, count: number): Promise<string> => {
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
