/** Strangers hold sockets to every agent, in all stages of a handshake, before a ring forms and while it works. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { Printed } from '../shared/printed.ts'
import type { RingView } from '../shared/schema/ring.ts'
import { flood, type Flood } from './support/flood.ts'
import { temporaryFolder } from './support/homes.ts'
import { eventually, mesh, startReady } from './support/processes.ts'

const prompt = ['inference', '--prompt', 'Once upon a time', '--max-tokens', '60', '--seed', '5', '--temperature', '0']
const socketsOfStrangers = 200
/** Where they come from: also from the address where the members are. */
const from = Array.from({ length: 50 }, (_, index) => `127.0.0.${index + 1}`)

interface Agent {
  readonly home: string
  readonly pid: number
  readonly port: number
}

const residentMiB = ({ pid }: Agent): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024

/** A pool of two devices, whose agents are met by strangers before they meet each other. */
const createPool = async (
  t: TestContext,
): Promise<{ readonly agents: Agent[]; readonly floods: Flood[]; readonly before: number[] }> => {
  const root = temporaryFolder(t)
  const homes = ['admin', 'member'].map((name) => join(root, name))
  const plane = await startReady(t, {
    name: 'control plane',
    program: 'controlPlane',
    args: ['--port', '0', '--json', '--log-level', 'error'],
    home: join(root, 'services'),
  })
  const [agents, floods, before]: [Agent[], Flood[], number[]] = [[], [], []]
  const start = async (home: string): Promise<void> => {
    const { process, info } = await startReady(t, {
      name: 'agent',
      program: 'mesh',
      args: [
        'start',
        '--json',
        '--listen',
        '/ip4/127.0.0.1/tcp/0',
        '--discovery',
        'none',
        '--threads',
        '1',
        '--log-level',
        'error',
      ],
      home,
    })
    assert.ok(process.pid)
    const agent = { home, pid: process.pid, port: Number(/\/tcp\/(\d+)/.exec((info.addresses as string[])[0])?.[1]) }
    const strangers = flood({
      port: agent.port,
      sockets: socketsOfStrangers,
      from,
      againMs: 20,
      isPatient: true,
      apartMs: 5,
    })
    t.after(() => strangers.stop())
    before.push(residentMiB(agent))
    agents.push(agent)
    floods.push(strangers)
    await eventually(20_000, 'all of them came', () => (strangers.opened > socketsOfStrangers ? true : undefined))
  }
  for (const [index, home] of homes.entries())
    await mesh(
      ['init', '--network-id', 'home', '--name', ['Admin', 'Member'][index], '--control-plane', String(plane.info.url)],
      { home },
    )
  await mesh(['pool-create', '--name', 'home'], { home: homes[0] })
  await start(homes[0])
  await mesh(['pool-join', '--invite', (await mesh(['pool-invite'], { home: homes[0] })).trim()], { home: homes[1] })
  await start(homes[1])
  return { agents, floods, before }
}

const formRing = async (
  agents: readonly Agent[],
  after = 0,
): Promise<{ readonly epoch: number; readonly ms: number }> => {
  const startedAt = performance.now()
  for (const { home } of agents) await mesh(['join-ring', '--model-id', 'tiny-story'], { home })
  const epoch = await eventually(60_000, 'the ring is active with both', async () => {
    const [ring] = JSON.parse(await mesh(['ring-status', '--json'], { home: agents[0].home })) as Printed<RingView>[]
    return ring?.status === 'active' && ring.world_size === 2 && ring.epoch > after ? ring.epoch : undefined
  })
  return { epoch, ms: performance.now() - startedAt }
}

test('a ring forms and works while strangers hold 200 sockets to each agent', { timeout: 300_000 }, async (t) => {
  const { agents, floods, before } = await createPool(t)
  const hard = await formRing(agents)
  const text = await mesh(prompt, { home: agents[1].home })
  const grown = agents.map((agent, index) => residentMiB(agent) - before[index])
  const opened = floods.map((strangers) => strangers.opened)
  for (const strangers of floods) strangers.stop()

  assert.equal(await mesh(prompt, { home: agents[1].home }), text, 'the same text without them')
  for (const { home } of agents) await mesh(['leave-ring', '--model-id', 'tiny-story'], { home })
  const calm = await formRing(agents, hard.epoch)
  t.diagnostic(
    `ring formed in ${(hard.ms / 1000).toFixed(1)} s in the flood, ${(calm.ms / 1000).toFixed(1)} s without; ` +
      `${opened.join(' and ')} sockets; the agents grew by ${grown.map((mib) => mib.toFixed(0)).join(' and ')} ` +
      'MiB, ring and all',
  )
  assert.equal(await mesh(prompt, { home: agents[1].home }), text)
})
