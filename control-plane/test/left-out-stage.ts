/** A ring with members that keep it from working: its stage, what they say, and what others see of it. */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import type { RingView } from '../../shared/schema/ring.ts'
import {
  createPool,
  FakeAgent,
  quickSettings,
  startPlane,
  submission,
  type TestDevice,
  type TestPool,
} from './plane.ts'
import { done, epochWith, join, view } from './steps.ts'

/** Times that a test can wait for; only where silence is what matters, it is short. */
export const health = { silenceMs: 60_000, retryMs: 300, random: () => 0.5 }
/** The same, and who is left out stays so. */
export const patient = { ...health, retryMs: 600_000 }
export const short = { settings: { ...patient, silenceMs: 1200 } }

export interface Stage {
  readonly url: string
  readonly pool: TestPool
  /** Admin first. */
  readonly devices: readonly TestDevice[]
  readonly agents: readonly FakeAgent[]
  readonly ringId: string
  readonly epoch: number
}

type Settings = Partial<typeof health & { wellMs: number; longestLoadMs: number }>

/** Members that were told of an epoch and said nothing yet. */
export const createStage = async (
  t: TestContext,
  names: readonly string[],
  { settings = patient, trials = false }: { readonly settings?: Settings; readonly trials?: boolean } = {},
): Promise<Stage> => {
  const { url } = await startPlane(t, undefined, { ...quickSettings, leaseMs: 60_000, health: settings })
  const pool = await createPool(url)
  const devices = [pool.admin, ...(await Promise.all(names.map((name) => pool.member(name))))]
  const agents: FakeAgent[] = []
  for (const device of devices) {
    agents.push(await FakeAgent.connect(t, device, url, trials ? { trials } : 1))
    await join(device, pool, url)
  }
  return { url, pool, devices, agents, ...(await epochWith(agents, agents.length)) }
}

export const failed = (
  agent: FakeAgent,
  { ringId, epoch }: Pick<Stage, 'ringId' | 'epoch'>,
  error: { readonly code: string; readonly message: string; readonly fields?: Record<string, string | number> },
): void => agent.send({ type: 'ring-state', ringId, epoch, state: 'failed', progress: 0, error })

export const loading = (
  agent: FakeAgent,
  { ringId, epoch }: Pick<Stage, 'ringId' | 'epoch'>,
  bytes: number,
  missing?: number[],
): void =>
  agent.send({
    type: 'ring-state',
    ringId,
    epoch,
    state: 'loading',
    progress: 0.5,
    loading: { phase: missing ? 'linking' : 'quantising', bytes, totalBytes: 1e9, ...(missing ? { missing } : {}) },
  })

export const diskFull = {
  code: 'diskFull',
  message: 'cannot write /shards: the disk is full (9 GB needed)',
  fields: { file: '/shards', need: '9 GB' },
} as const

/** The ring works with those, and a prompt of it is answered. */
export const answers = async ({ pool, url, ringId }: Stage, agents: readonly FakeAgent[]): Promise<void> => {
  const { epoch } = await epochWith(agents, agents.length)
  for (const agent of agents) agent.ready(ringId, epoch)
  for (const agent of agents) assert.equal((await agent.next('ring-active')).epoch, epoch)
  await answer({ pool, url }, agents[0], epoch)
}

let prompts = 0
export const answer = async (
  { pool, url }: Pick<Stage, 'pool' | 'url'>,
  leader: FakeAgent,
  epoch: number,
): Promise<void> => {
  const { jobId } = await pool.admin
    .client(url)
    .call('submitJob', { params: { poolId: pool.poolId }, body: submission(`prompt-${++prompts}`) })
  assert.equal((await leader.next('job-assign')).jobId, jobId)
  leader.send(done(jobId, epoch, 'Hi', [1]))
  await leader.next('job-settled')
}

export const member = async ({ pool, url }: Stage, name: string): Promise<RingView['members'][number]> => {
  const found = (await view(pool, url)).members.find((one) => one.name === name)
  assert.ok(found)
  return found
}

export const isLeftOut = async (stage: Stage, name: string, reason: RegExp): Promise<void> => {
  const { state, error, leftOut } = await member(stage, name)
  assert.match(error?.message ?? '', reason)
  assert.equal(state, 'failed')
  assert.ok(leftOut && leftOut.retryAt > leftOut.since)
}
