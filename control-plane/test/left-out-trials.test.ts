/** How who was left out of a ring comes back: by trials, by asking, after pauses. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createPool, eventually, FakeAgent, manifest, quickSettings, startPlane } from './plane.ts'
import { answer, answers, createStage, diskFull, failed, health, member, patient } from './left-out-stage.ts'
import { activeRing, epochWith, join, view } from './steps.ts'

test('left out: it is tried after pauses that grow, and told each time', async (t) => {
  const stage = await createStage(t, ['Broken'], { settings: { ...health, retryMs: 600 } })
  const [admin, broken] = stage.agents
  let now: { ringId: string; epoch: number } = stage
  const pauses: number[] = []
  for (let time = 0; time < 3; time++) {
    failed(broken, now, diskFull)
    const { retryMs, error, modelId } = await broken.next('ring-left-out')
    assert.deepEqual([error.code, modelId], ['diskFull', 'tiny'])
    pauses.push(retryMs)
    admin.ready(stage.ringId, (await epochWith([admin], 1)).epoch)
    now = await epochWith([admin, broken], 2) // a version that knows no trials is simply taken in again
  }
  for (const [index, pause] of pauses.entries())
    assert.ok(pause <= 600 * 2 ** index && pause > 600 * 2 ** (index - 1), String(pauses))
})

test('left out: it shows that it can load while the others go on, undisturbed until then', async (t) => {
  const stage = await createStage(t, ['Healing'], { settings: { ...health, silenceMs: 1500 }, trials: true })
  const {
    ringId,
    agents: [admin, healing],
  } = stage
  failed(healing, stage, diskFull)
  await answers(stage, [admin])
  const state = (trial: { epoch: number }, change: object): void =>
    healing.send({ type: 'ring-trial-state', ringId, epoch: trial.epoch, state: 'loading', progress: 0, ...change })
  const { ring: first } = await healing.next('ring-trial')
  assert.deepEqual(
    first.members.map(({ name }) => name),
    ['Admin', 'Healing'],
  )
  state(first, { state: 'failed', error: diskFull })
  assert.ok((await healing.next('ring-left-out')).retryMs > health.retryMs)
  const { ring: second } = await healing.next('ring-trial') // and says nothing
  assert.match((await healing.next('ring-left-out')).error.message, /^Healing did not say that it loads/)
  const { ring: third } = await healing.next('ring-trial')
  state(third, { progress: 0.5, loading: { phase: 'quantising', bytes: 1, totalBytes: 9 } })
  await eventually(
    'how it loads is shown',
    async () => (await member(stage, 'Healing')).loading?.phase === 'quantising',
  )
  assert.deepEqual(await admin.unread(), [], 'nobody noticed')
  assert.equal((await view(stage.pool, stage.url)).status, 'active')
  state(third, { state: 'ready', progress: 1 })
  await answers(stage, [admin, healing])
  assert.equal((await member(stage, 'Healing')).leftOut, undefined)
  assert.equal(second.epoch, third.epoch)
})

test('left out: mesh join-ring there tries it at once; who spoils epoch after epoch waits all the same', async (t) => {
  const stage = await createStage(t, ['Mending'])
  const { pool, url, devices, agents } = stage
  failed(agents[1], stage, diskFull)
  await epochWith([agents[0]], 1)
  await join(devices[1], pool, url)
  const again = await epochWith(agents, 2)
  failed(agents[1], again, diskFull)
  await epochWith([agents[0]], 1)
  const { leftOut } = await member(stage, 'Mending')
  await join(devices[1], pool, url)
  await agents[1].unread()
  assert.ok((await member(stage, 'Mending')).leftOut)
  assert.ok(((await member(stage, 'Mending')).leftOut?.retryAt ?? 0) < (leftOut?.retryAt ?? 0), 'half as long')
})

test('left out: room on its disk lets it ask before its time', async (t) => {
  const stage = await createStage(t, ['Full'], { trials: true })
  const {
    ringId,
    agents: [admin, full],
  } = stage
  failed(full, stage, diskFull)
  await answers(stage, [admin])
  for (let time = 0; time < 3; time++) {
    full.send({ type: 'ring-retry', ringId })
    const { ring } = await full.next('ring-trial')
    full.send({ type: 'ring-trial-state', ringId, epoch: ring.epoch, state: 'failed', progress: 0, error: diskFull })
    await full.next('ring-left-out')
  }
  assert.deepEqual(await admin.unread(), [])
})

test('left out: a control plane that starts anew tries what is no part of the epoch before it ends that', async (t) => {
  const first = await startPlane(t, undefined, { ...quickSettings, leaseMs: 60_000, health: patient })
  const pool = await createPool(first.url)
  const {
    agents: [admin, ...others],
    ringId,
    epoch,
  } = await activeRing(t, pool, first.url, 2)
  assert.equal(others.length, 1)
  failed(others[0], { ringId, epoch }, diskFull)
  const alone = await epochWith([admin], 1)
  await first.stop()
  const { url } = await startPlane(t, first.folder, { ...quickSettings, leaseMs: 60_000, health: patient })
  const [back, outside] = [
    await FakeAgent.connect(t, pool.admin, url),
    await FakeAgent.connect(t, others[0].device, url, { trials: true }),
  ]
  back.ready(ringId, alone.epoch)
  await back.next('ring-active')
  const { ring } = await outside.next('ring-trial')
  outside.send({ type: 'ring-trial-state', ringId, epoch: ring.epoch, state: 'failed', progress: 0, error: diskFull })
  await outside.next('ring-left-out')
  assert.deepEqual(await back.unread(), [])
  assert.equal((await view(pool, url)).epoch, alone.epoch)
})

test('left out: a newcomer shows that it can load while the ring that works goes on; leaving and coming again wins it nothing', async (t) => {
  const { url } = await startPlane(t, undefined, { ...quickSettings, leaseMs: 60_000, health: patient })
  const pool = await createPool(url)
  const {
    agents: [admin],
    ringId,
    epoch,
  } = await activeRing(t, pool, url, 1)
  const device = await pool.member('New')
  const agent = await FakeAgent.connect(t, device, url, { trials: true })
  const state = (trial: { epoch: number }, change: object): void =>
    agent.send({ type: 'ring-trial-state', ringId, epoch: trial.epoch, state: 'loading', progress: 0, ...change })
  await join(device, pool, url)
  const { ring: first } = await agent.next('ring-trial')
  state(first, { state: 'failed', error: diskFull })
  const { retryMs } = await agent.next('ring-left-out')
  for (let time = 0; time < 3; time++) {
    await device.client(url).call('leaveRing', { params: { poolId: pool.poolId }, body: { modelId: manifest.modelId } })
    await agent.next('ring-left')
    await join(device, pool, url) // this asks for a try, which costs nobody anything
    state((await agent.next('ring-trial')).ring, { state: 'failed', error: diskFull })
    assert.ok((await agent.next('ring-left-out')).retryMs > retryMs)
  }
  assert.deepEqual(await admin.unread(), [])
  await answer({ pool, url }, admin, epoch)
  await join(device, pool, url)
  state((await agent.next('ring-trial')).ring, { state: 'ready', progress: 1 })
  await answers({ url, pool, devices: [pool.admin, device], agents: [admin, agent], ringId, epoch }, [admin, agent])
})
