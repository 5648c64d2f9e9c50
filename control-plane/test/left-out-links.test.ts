/** Who is left out for links that lack or break, and for coming and going. */
import { test } from 'node:test'
import { eventually, FakeAgent } from './plane.ts'
import { answers, createStage, failed, isLeftOut, loading, member, short } from './left-out-stage.ts'
import { epochWith } from './steps.ts'

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
