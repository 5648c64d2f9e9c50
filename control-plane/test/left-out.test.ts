/**
 * One member keeps a ring from working, in every way that it can: the others go on without it, and it is tried again.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createPool, eventually, FakeAgent, manifest, quickSettings, startPlane, submission } from './plane.ts'
import {
  answer,
  answers,
  createStage,
  diskFull,
  failed,
  health,
  isLeftOut,
  loading,
  member,
  patient,
  short,
} from './left-out-stage.ts'
import { activeRing, epochWith, join, view } from './steps.ts'

test('left out: a member that says nothing', async (t) => {
  const stage = await createStage(t, ['Mute'], short)
  const [admin] = stage.agents
  loading(admin, stage, 1e9, [1])
  await answers(stage, [admin])
  await isLeftOut(stage, 'Mute', /^Mute did not say that it loads for 1\.2 s$/)
})

test('left out: a member that reports the same progress for ever, back and forth', async (t) => {
  const stage = await createStage(t, ['Stuck'], short)
  const [admin, stuck] = stage.agents
  loading(admin, stage, 1e9, [1])
  let bytes = 0
  const timer = setInterval(() => loading(stuck, stage, 5e8 + (bytes = (bytes + 7e7) % 2e8)), 20)
  t.after(() => clearInterval(timer))
  await answers(stage, [admin])
  await isLeftOut(stage, 'Stuck', /^Stuck did not get on with quantising for 1\.2 s$/)
})

test('not left out: a member that loads for many times the deadline, and gets on', async (t) => {
  const stage = await createStage(t, ['Slow'], short)
  const [admin, slow] = stage.agents
  loading(admin, stage, 1e9, [1])
  const until = Date.now() + 5 * short.settings.silenceMs
  for (let bytes = 0; Date.now() < until; bytes += 2e6) {
    loading(slow, stage, bytes)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  assert.equal((await member(stage, 'Slow')).state, 'loading')
  for (const agent of stage.agents) agent.ready(stage.ringId, stage.epoch)
  assert.equal((await slow.next('ring-active')).epoch, stage.epoch)
})

test('left out: one that gets on for ever, once all others wait for it long enough', async (t) => {
  const stage = await createStage(t, ['Endless'], { settings: { ...patient, longestLoadMs: 1200 } })
  const [admin, endless] = stage.agents
  loading(admin, stage, 1e9, [1])
  let bytes = 0
  const timer = setInterval(() => loading(endless, stage, (bytes += 1e7)), 50)
  t.after(() => clearInterval(timer))
  await answers(stage, [admin])
  await isLeftOut(stage, 'Endless', /^Endless was not done with loading for 1\.2 s$/)
})

for (const [what, error, says] of [
  ['other files', { code: 'modelMismatch', message: 'other files' }, /^other files$/],
  ['a full disk', diskFull, /the disk is full \(9 GB needed\)/],
  ['no memory', { code: 'ringTooLarge', message: 'no room' }, /./],
  ['an error of a newer version', { code: 'somethingNew', message: 'what is that' }, /what is that/],
] as const) {
  test(`left out: a member that fails at once, every time: ${what}`, async (t) => {
    const stage = await createStage(t, ['Broken'])
    failed(stage.agents[1], stage, error)
    await answers(stage, [stage.agents[0]])
    await isLeftOut(stage, 'Broken', says)
  })
}

test('left out: rank 0, and all but one', async (t) => {
  const stage = await createStage(t, ['First', 'Second'])
  failed(stage.agents[0], stage, diskFull)
  failed(stage.agents[2], stage, diskFull)
  await answers(stage, [stage.agents[1]])
  await isLeftOut(stage, 'Admin', /disk is full/)
  await isLeftOut(stage, 'Second', /disk is full/)
})

test('left out: a backend that crashes while it loads, at the second time', async (t) => {
  const stage = await createStage(t, ['Crash'])
  const error = { code: 'backendFailed', message: 'the ggml backend failed: it ended' }
  failed(stage.agents[1], stage, error)
  const again = await epochWith(stage.agents, 2)
  failed(stage.agents[1], again, error)
  await answers(stage, [stage.agents[0]])
  await isLeftOut(stage, 'Crash', /ggml backend failed: it ended/)
})

test('left out: the member without links to most others, which may say what it likes', async (t) => {
  const stage = await createStage(t, ['Far', 'Near'], short)
  const [admin, far, near] = stage.agents
  loading(admin, stage, 1e9, [1])
  loading(far, stage, 1e9, [0, 2])
  loading(near, stage, 1e9, [1])
  await answers(stage, [admin, near])
  await isLeftOut(stage, 'Far', /^Far has no link to Admin, Near$/)
})

test('left out: of two that do not reach each other, the one that joined last', async (t) => {
  const stage = await createStage(t, ['Early', 'Late'], short)
  const [admin, early, late] = stage.agents
  loading(admin, stage, 1e9, [])
  loading(early, stage, 1e9, [2])
  loading(late, stage, 1e9, [1])
  await answers(stage, [admin, early])
  await isLeftOut(stage, 'Late', /^Late has no link to Early$/)
})

test('left out: a member that complains of one that has its link, and later of another', async (t) => {
  const stage = await createStage(t, ['Honest', 'Liar'], short)
  const [admin, honest, liar] = stage.agents
  for (const agent of [admin, honest]) agent.ready(stage.ringId, stage.epoch)
  loading(liar, stage, 1e9, [1])
  await answers(stage, [admin, honest])
  await isLeftOut(stage, 'Liar', /^Liar has no link to Honest$/)
})

test('left out: a member whose links break again and again, while a ring of others works', async (t) => {
  const stage = await createStage(t, ['Loose'])
  let now: { ringId: string; epoch: number } = stage
  for (let time = 0; time < 3; time++) {
    const lost = (peer: string, rank: number): Parameters<typeof failed>[2] => ({
      code: 'peerLost',
      message: 'lost',
      fields: { peer, rank, problem: 'closed' },
    })
    failed(stage.agents[0], now, lost('Loose', 1))
    failed(stage.agents[1], now, lost('Admin', 0))
    if (time < 2) now = await epochWith(stage.agents, 2)
  }
  await answers(stage, [stage.agents[0]])
  await isLeftOut(stage, 'Loose', /^Loose has no link to Admin$/)
})

test('left out: a member that computes nothing and spoils jobs, at the second one', async (t) => {
  const stage = await createStage(t, ['Crasher'])
  const {
    pool,
    url,
    ringId,
    epoch,
    agents: [admin, crasher],
  } = stage
  for (const agent of [admin, crasher]) agent.ready(ringId, epoch)
  const spoil = async (key: string): Promise<void> => {
    const { jobId } = await pool.admin
      .client(url)
      .call('submitJob', { params: { poolId: pool.poolId }, body: submission(key) })
    await admin.next('job-assign')
    admin.send({
      type: 'job-failed',
      jobId,
      epoch,
      error: {
        code: 'rankFailed',
        message: 'Crasher (rank 1) could not compute: it died',
        fields: { peer: 'Crasher', rank: 1, problem: 'it died' },
      },
    })
    await admin.next('job-settled')
  }
  await spoil('first')
  await answer(stage, admin, epoch) // one that worked: all is forgotten
  await spoil('second')
  assert.equal((await view(pool, url)).status, 'active')
  await spoil('third')
  await answers(stage, [admin])
  await isLeftOut(stage, 'Crasher', /^Crasher \(rank 1\) could not compute: it died$/)
})

test('not left out: whoever has to do with prompts that are wrong', async (t) => {
  const stage = await createStage(t, ['Fine'])
  const { pool, url, ringId, epoch, agents } = stage
  for (const agent of agents) agent.ready(ringId, epoch)
  for (let index = 0; index < 6; index++) {
    const { jobId } = await pool.admin
      .client(url)
      .call('submitJob', { params: { poolId: pool.poolId }, body: submission(`wrong-${index}`) })
    await agents[0].next('job-assign')
    agents[0].send({
      type: 'job-failed',
      jobId,
      epoch,
      error: { code: 'promptTooLong', message: 'long', fields: { tokens: 9000, context: 2048 } },
    })
    await agents[0].next('job-settled')
  }
  const { status, members } = await view(pool, url)
  assert.deepEqual([status, members.map(({ leftOut }) => leftOut)], ['active', [undefined, undefined]])
})

test('left out: a member that comes and goes', async (t) => {
  const stage = await createStage(t, ['Flapping'])
  const {
    url,
    devices: [, flapping],
    agents: [admin],
  } = stage
  let agent = stage.agents[1]
  for (let time = 0; time < 3; time++) {
    agent.kill()
    await epochWith([admin], 1)
    if (time === 2) break
    agent = await FakeAgent.connect(t, flapping, url)
    await epochWith([admin, agent], 2)
  }
  await FakeAgent.connect(t, flapping, url)
  await eventually('it is left out', async () => (await member(stage, 'Flapping')).leftOut !== undefined)
  await isLeftOut(stage, 'Flapping', /^Flapping came and went again and again$/)
})

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

test('left out: without it the model does not fit, and both is said', async (t) => {
  const { url } = await startPlane(t, undefined, { ...quickSettings, leaseMs: 60_000, health: patient })
  const pool = await createPool(url)
  const large = {
    ...manifest,
    shape: { layers: 32, hidden: 4096, heads: 32, kvHeads: 8, headDim: 128, ffn: 14_336, vocab: 32_000, context: 2048 },
  }
  const devices = [pool.admin, await pool.member('Needed')]
  const agents = [await FakeAgent.connect(t, devices[0], url), await FakeAgent.connect(t, devices[1], url)]
  for (const device of devices) await join(device, pool, url, { model: large })
  const { ringId, epoch } = await epochWith(agents, 2)
  failed(agents[1], { ringId, epoch }, diskFull)
  await agents[1].next('ring-left-out')
  const submit = pool.admin
    .client(url)
    .call('submitJob', { params: { poolId: pool.poolId }, body: submission('large') })
  await assert.rejects(submit, {
    code: 'ringTooLarge',
    message:
      /^tiny q8 does not fit: Admin lacks .*; Needed is left out: cannot write \/shards: the disk is full \(9 GB needed\), tried again in (9 min|10 min)/,
  })
  await join(devices[1], pool, url, { model: large })
  agents[0].ready(ringId, epoch)
  agents[1].ready(ringId, (await agents[1].next('ring-epoch')).ring.epoch)
  await agents[0].next('ring-active')
})

test('left out: all of them, and prompts are refused with a name and a reason; the first that is due is taken', async (t) => {
  const stage = await createStage(t, ['Other'], { settings: { ...health, retryMs: 1500 } })
  const { pool, url, agents } = stage
  failed(agents[0], stage, diskFull)
  failed(agents[1], stage, diskFull)
  await agents[0].next('ring-left-out')
  await agents[1].next('ring-left-out')
  const submit = (key: string): Promise<unknown> =>
    pool.admin.client(url).call('submitJob', { params: { poolId: pool.poolId }, body: submission(key) })
  await assert.rejects(submit('none'), {
    code: 'ringBlocked',
    message: /^no ring can form for tiny: Admin: cannot write \/shards: the disk is full/,
    hint: /tried again by itself, in /,
  })
  const { ring } = await agents[0].next('ring-epoch')
  agents[0].ready(stage.ringId, ring.epoch)
})

test('left out: of one ring, and of no other', async (t) => {
  const stage = await createStage(t, ['Half'])
  const { pool, url, devices, agents } = stage
  failed(agents[1], stage, diskFull)
  await answers(stage, [agents[0]])
  for (const device of devices) await join(device, pool, url, { model: { ...manifest, modelId: 'second' } })
  const { ringId, epoch } = await epochWith(agents, 2)
  assert.notEqual(ringId, stage.ringId)
  for (const agent of agents) agent.ready(ringId, epoch)
  await agents[1].next('ring-active')
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

test('left out: a flood of reports costs its sender the connection, and the others nothing', async (t) => {
  const stage = await createStage(t, ['Flood'])
  const [admin, flood] = stage.agents
  loading(admin, stage, 1e9, [1])
  for (let bytes = 0; bytes < 5000; bytes++) loading(flood, stage, bytes)
  await flood.closed
  await answers(stage, [admin])
})
