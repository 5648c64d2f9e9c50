/**
 * kill -9 of control plane, agents and commands while jobs run, end and are settled: every job that was answered is
 * settled once, with the signature of every device whose report could be made, and the ledger sums to zero.
 */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { it, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { programs } from '../agent/cli/programs.ts'
import { loadDevice } from '../agent/device/device.ts'
import { seeded } from '../control-plane/test/seeded.ts'
import { openHome } from '../shared/home.ts'
import type { Printed } from '../shared/printed.ts'
import type { RingView } from '../shared/schema/ring.ts'
import { afterwards, temporaryFolder } from './support/homes.ts'
import { isFull } from './support/full.ts'
import { runUntilKilled, seed } from './support/kills.ts'
import { eventually, mesh, meshHere, startReady } from './support/processes.ts'

/** `node test/settle-kills.test.ts --full` kills 72 times, in about three minutes; `npm test` eight times. */
const rounds = isFull ? 54 : 6

type Service = Awaited<ReturnType<typeof startReady>>
const services = ['control plane', 'leader', 'follower'] as const
type ServiceName = (typeof services)[number]

const inference = ['inference', '--prompt', 'Once upon a time', '--max-tokens', '6', '--wait', '30s', '--json']

/** Something that an agent wrote down to tell it to the control plane. */
interface Kept {
  readonly type: string
  readonly jobId: string
  readonly deviceId: string
}

/** A control plane, and two devices that serve a model together. */
class Scene {
  readonly homes: { readonly leader: string; readonly follower: string; readonly services: string }
  readonly #t: TestContext
  readonly #running = new Map<ServiceName, Service>()
  #port = '0'

  constructor(t: TestContext) {
    const root = temporaryFolder(t)
    this.#t = t
    this.homes = { leader: join(root, 'leader'), follower: join(root, 'follower'), services: join(root, 'services') }
  }

  async open(): Promise<void> {
    const { leader, follower } = this.homes
    await this.start('control plane')
    for (const [home, name] of [
      [leader, 'Leader'],
      [follower, 'Follower'],
    ])
      await mesh(
        ['init', '--network-id', 'home', '--name', name, '--control-plane', `http://127.0.0.1:${this.#port}`],
        { home },
      )
    await mesh(['pool-create', '--name', 'home'], { home: leader })
    await this.start('leader')
    await mesh(['pool-join', '--invite', (await mesh(['pool-invite'], { home: leader })).trim()], { home: follower })
    await this.start('follower')
    // rank 0 is who joined first
    for (const home of [leader, follower]) await mesh(['join-ring', '--model-id', 'tiny-story'], { home })
    await this.ringOfTwo()
  }

  /** Nothing is settled without all statements, unless `settleAfter` says so. */
  async start(name: ServiceName, settleAfter = '1h'): Promise<void> {
    const agent = ['start', '--json', '--listen', '/ip4/127.0.0.1/tcp/0', '--discovery', 'none', '--threads', '1']
    const service =
      name === 'control plane'
        ? await startReady(this.#t, {
            name,
            program: 'controlPlane',
            args: ['--port', this.#port, '--heartbeat', '1s', '--settle-after', settleAfter, '--json'],
            home: this.homes.services,
          })
        : await startReady(this.#t, { name, program: 'mesh', args: agent, home: this.homes[name] })
    this.#running.set(name, service)
    if (name === 'control plane') this.#port = new URL(String(service.info.url)).port
  }

  async kill(name: ServiceName): Promise<void> {
    const process = this.#running.get(name)?.process
    process?.signal('SIGKILL')
    await process?.ended
  }

  async stop(name: ServiceName): Promise<void> {
    await this.#running.get(name)?.process.stop()
  }

  ringOfTwo(): Promise<true> {
    return eventually(40_000, 'the ring is active with both', async () => {
      const { code, stdout } = await meshHere(['ring-status', '--json'], this.homes.leader)
      const [ring] = code === 0 ? (JSON.parse(stdout) as Printed<RingView>[]) : []
      return (ring?.status === 'active' && ring.world_size === 2) || undefined
    })
  }

  /** Answers and reports that an agent keeps until the control plane confirms them. */
  keptBy(name: 'leader' | 'follower'): Kept[] {
    const { deviceId } = loadDevice(openHome(this.homes[name]))
    return Object.values(openHome(this.homes[name]).outbox).flatMap((folder) =>
      (existsSync(folder) ? readdirSync(folder) : [])
        .filter((file) => file.endsWith('.json'))
        .map((file) => {
          const { type, jobId } = JSON.parse(readFileSync(join(folder, file), 'utf8')) as {
            type: string
            jobId: string
          }
          return { type, jobId, deviceId }
        }),
    )
  }

  get kept(): Kept[] {
    return [...this.keptBy('leader'), ...this.keptBy('follower')]
  }

  /** Jobs that wait or run: that of a command that was killed goes on without it. */
  get unfinished(): number {
    const { database } = this
    const count = database
      .prepare(`select count(*) from jobs where state not in ('done', 'failed', 'cancelled')`)
      .pluck()
      .get() as number
    database.close()
    return count
  }

  get database(): Database.Database {
    return new Database(openHome(this.homes.services).controlPlane.database, { readonly: true })
  }
}

/** Both devices prompt, one job after another, until they are told to stop. */
const startTraffic = (t: TestContext, { homes }: Scene): { readonly answered: Set<string>; stop(): Promise<void> } => {
  const answered = new Set<string>()
  const problems: string[] = []
  const over = new AbortController()
  const loop = async (home: string): Promise<void> => {
    while (!over.signal.aborted) {
      const { code, stdout, stderr } = await meshHere(inference, home)
      if (code === 0) answered.add((JSON.parse(stdout) as { job_id: string }).job_id)
      // not reached, or the job failed by name: all else is a defect
      else if (code !== 4 && code !== 6) problems.push(stderr)
      await pause(code === 0 ? 0 : 100)
    }
  }
  const loops = [homes.leader, homes.follower].map(loop)
  const stop = async (): Promise<void> => {
    over.abort()
    await Promise.all(loops)
    assert.deepEqual(problems, [])
  }
  afterwards(t, () => over.abort())
  return { answered, stop }
}

interface JobRow {
  readonly jobId: string
  readonly state: string
  readonly startedAt: number
  readonly finishedAt: number
}

/** Milliseconds in which a follower hears that a job ended, on a busy machine. */
const noticeMs = 500

/** What was on the disk of an agent when it was killed is not lost: answers are done jobs, reports are statements. */
const checkPromises = ({ database }: Scene, promised: readonly Kept[]): void => {
  const state = database.prepare('select state from jobs where job_id = ?').pluck()
  const said = database
    .prepare(
      `select 1 from job_statements where kind = 'work' and job_id = ? and device_id = ? union select 1 from ` +
        `ledger_entries where kind = 'work' and signature is not null and job_id = ? and device_id = ?`,
    )
    .pluck()
  for (const { type, jobId, deviceId } of promised) {
    if (type === 'job-done') assert.equal(state.get(jobId), 'done', `job ${jobId} was done when its leader was killed`)
    if (type === 'work-report' && state.get(jobId) === 'done')
      assert.equal(
        said.get(jobId, deviceId, jobId, deviceId),
        1,
        `the report of ${deviceId.slice(0, 8)} on job ${jobId} was on disk`,
      )
  }
  database.close()
}

interface Settled {
  readonly answered: number
  readonly ended: number
  readonly failed: number
  readonly silent: Record<ServiceName | 'submitter', number>
}

/**
 * Before the time-out settles anything without them: what is missing of which job.
 * @param followerDied when; a report of it may be missing of a job that ran then
 */
const missingStatements = (scene: Scene, answered: ReadonlySet<string>, followerDied: readonly number[]): Settled => {
  const { database } = scene
  const jobs = database
    .prepare('select job_id as jobId, state, started_at as startedAt, finished_at as finishedAt from jobs')
    .all() as JobRow[]
  const billed = database
    .prepare('select job_id as jobId, workers, settled_at as settledAt from billed_jobs')
    .all() as { jobId: string; workers: string; settledAt: number | null }[]
  const said = database.prepare('select device_id as deviceId, kind from job_statements where job_id = ?')
  const byId = new Map(jobs.map((job) => [job.jobId, job]))
  const silent = { 'control plane': 0, leader: 0, follower: 0, submitter: 0 }
  assert.ok(
    jobs.every(({ state }) => ['done', 'failed', 'cancelled'].includes(state)),
    'every job ended',
  )
  for (const jobId of answered) assert.equal(byId.get(jobId)?.state, 'done', 'a job that was answered is done')
  assert.deepEqual(
    billed.map(({ jobId }) => jobId).toSorted(),
    jobs
      .filter(({ state }) => state === 'done')
      .map(({ jobId }) => jobId)
      .toSorted(),
    'what was answered is to be paid, and nothing else',
  )
  for (const { jobId, workers, settledAt } of billed) {
    if (settledAt !== null) continue
    const statements = said.all(jobId) as { deviceId: string; kind: string }[]
    const devices = (JSON.parse(workers) as { deviceId: string }[]).map(({ deviceId }) =>
      statements.some((one) => one.kind === 'work' && one.deviceId === deviceId),
    )
    if (!devices[0]) silent.leader++
    if (devices[1] === false) {
      silent.follower++
      const { startedAt, finishedAt } = byId.get(jobId) as JobRow
      assert.ok(
        followerDied.some((at) => at >= startedAt && at <= finishedAt + noticeMs),
        `the follower lived when job ${jobId} ended, and its report is missing`,
      )
    }
    if (!statements.some(({ kind }) => kind === 'use')) silent.submitter++
  }
  database.close()
  return {
    answered: answered.size,
    ended: jobs.length,
    failed: jobs.filter(({ state }) => state === 'failed').length,
    silent,
  }
}

/** All is settled: once each, and it sums to zero. */
const checkLedger = async (scene: Scene): Promise<void> => {
  const { database } = scene
  const perJob = database
    .prepare(
      'select sum(amount) as sum, count(*) as entries, j.workers as workers from ledger_entries l join ' +
        'billed_jobs j on j.job_id = l.job_id group by l.job_id',
    )
    .all() as { sum: number; entries: number; workers: string }[]
  assert.equal(perJob.length, database.prepare('select count(*) from billed_jobs').pluck().get())
  for (const { sum, entries, workers } of perJob)
    assert.deepEqual([sum, entries], [0, (JSON.parse(workers) as unknown[]).length + 1])
  assert.equal(database.prepare('select count(*) from job_statements').pluck().get(), 0)
  database.close()
  const { valid, jobs } = JSON.parse(await mesh(['ledger', 'verify', '--json'], { home: scene.homes.follower })) as {
    valid: boolean
    jobs: number
  }
  assert.deepEqual([valid, jobs], [true, perJob.length])
}

/**
 * `leader too`: the control plane first, so that jobs end without it, and then the agent that kept what it had to tell.
 */
type Victim = ServiceName | 'command' | 'leader too' | 'follower too'
const victims: readonly Victim[] = ['control plane', 'leader', 'follower too', 'follower', 'leader too', 'command']

/** @returns what the agent had on its disk when it was killed, and when that was */
const killBoth = async (
  scene: Scene,
  agent: 'leader' | 'follower',
  waitMs: number,
): Promise<{ readonly promised: Kept[]; readonly died: number }> => {
  await scene.kill('control plane')
  await pause(waitMs)
  // a slow machine is not that far yet; where no job runs there is nothing to wait for
  for (const until = Date.now() + 20_000; scene.keptBy(agent).length === 0 && Date.now() < until;) await pause(20)
  await scene.kill(agent)
  const died = Date.now()
  const promised = scene.keptBy(agent)
  await Promise.all([scene.start('control plane'), scene.start(agent)])
  return { promised, died }
}

it(`${rounds} rounds of kills while jobs run and are settled (seed ${seed})`, { timeout: 900_000 }, async (t) => {
  const scene = new Scene(t)
  await scene.open()
  const random = seeded(seed + 4)
  const traffic = startTraffic(t, scene)
  const followerDied: number[] = []
  const promised: Kept[] = []
  const killed: Record<Victim, number> = {
    'control plane': 0,
    leader: 0,
    follower: 0,
    command: 0,
    'leader too': 0,
    'follower too': 0,
  }
  for (let number = 0; number < rounds; number++) {
    // however slow the machine is: no kill before the ring worked again since the last one
    const before = traffic.answered.size
    await eventually(60_000, 'a job is answered', () => traffic.answered.size > before || undefined)
    const victim = victims[number % victims.length]
    if (victim === 'command')
      await runUntilKilled(t, [programs.mesh, ...inference], scene.homes.follower, { afterMs: 400 + random() * 1200 })
    else if (victim === 'leader too' || victim === 'follower too') {
      const agent = victim === 'leader too' ? 'leader' : 'follower'
      const result = await killBoth(scene, agent, 200 + random() * 800)
      promised.push(...result.promised)
      if (agent === 'follower') followerDied.push(result.died)
      await scene.ringOfTwo()
    } else {
      await pause(random() * 700)
      await scene.kill(victim)
      if (victim === 'follower') followerDied.push(Date.now())
      await scene.start(victim)
      await scene.ringOfTwo()
    }
    killed[victim]++
  }
  await traffic.stop()
  await eventually(20_000, 'every job has ended', () => scene.unfinished === 0 || undefined)
  await eventually(20_000, 'every report has arrived', () => scene.kept.length === 0 || undefined)
  await scene.stop('control plane')
  const result = missingStatements(scene, traffic.answered, followerDied)
  t.diagnostic(JSON.stringify({ killed, promised: promised.length, ...result }))
  checkPromises(scene, promised)
  if (isFull)
    assert.ok(promised.length >= rounds / 10, `only ${promised.length} messages were on disk when an agent was killed`)
  assert.ok(result.answered >= rounds, `only ${result.answered} jobs were answered`)
  assert.equal(result.silent.leader, 0, 'of an answer that arrived, the report of its leader arrives')
  await scene.start('control plane', '0ms')
  await eventually(
    20_000,
    'all is settled',
    async () =>
      (JSON.parse((await meshHere(['credits', '--json'], scene.homes.leader)).stdout || '{}') as { unsettled?: number })
        .unsettled === 0 || undefined,
  )
  await checkLedger(scene)
})
