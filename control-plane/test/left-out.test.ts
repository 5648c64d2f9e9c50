/** Who keeps a ring from working is left out, so that the others go on. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createPool, FakeAgent, manifest, quickSettings, startPlane, submission } from './plane.ts'
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
import { epochWith, join, view } from './steps.ts'

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

test('left out: a flood of reports costs its sender the connection, and the others nothing', async (t) => {
  const stage = await createStage(t, ['Flood'])
  const [admin, flood] = stage.agents
  loading(admin, stage, 1e9, [1])
  for (let bytes = 0; bytes < 5000; bytes++) loading(flood, stage, bytes)
  await flood.closed
  await answers(stage, [admin])
})
