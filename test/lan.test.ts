/**
 * Two machines on one network and nothing else: no internet, no other control plane, no default route. The first test
 * is the whole story of a group, command by command; then the network changes under it.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { readAgentState } from '../agent/cli/session.ts'
import { openHome } from '../shared/home.ts'
import type { Printed } from '../shared/printed.ts'
import type { RingView } from '../shared/schema/ring.ts'
import { temporaryFolder } from './support/homes.ts'
import { createLan, lanImpossible, type Machine } from './support/lan.ts'
import { eventually, mesh, runMesh, startReady } from './support/processes.ts'

interface Peer {
  readonly name: string
  readonly address: string
  readonly found: string
  readonly latency_ms: number | null
  readonly last_seen_at: number
}

interface Device {
  readonly home: string
  run(...args: string[]): Promise<string>
  json<T>(...args: string[]): Promise<T>
  /** `undefined` when the command fails. */
  tryJson<T>(...args: string[]): Promise<T | undefined>
  start(t: TestContext, ...args: string[]): ReturnType<typeof startReady>
}

const deviceOn = ({ through }: Machine, home: string): Device => ({
  home,
  run: (...args) => mesh(args, { home, through }),
  json: async <T>(...args: string[]) => JSON.parse(await mesh([...args, '--json'], { home, through })) as T,
  tryJson: async <T>(...args: string[]) => {
    const { code, stdout } = await runMesh([...args, '--json'], { home, through })
    return code === 0 ? (JSON.parse(stdout) as T) : undefined
  },
  start: (t, ...args) =>
    startReady(t, {
      name: `${args[0]} in ${home}`,
      program: 'mesh',
      args: [...args, '--json', '--threads', '1'],
      home,
      through,
      stopMs: 20_000,
    }),
})

interface Resources {
  readonly phase: string
  readonly memory_bytes: number
  readonly usable_bytes: number
  readonly recorded: boolean
}

const ringOfTwo = (device: Device, after = 0): Promise<Printed<RingView>> =>
  eventually(60_000, 'the ring is active with both devices', async () => {
    const [ring] = (await device.tryJson<Printed<RingView>[]>('ring-status')) ?? []
    return ring?.status === 'active' && ring.world_size === 2 && ring.epoch > after ? ring : undefined
  })

const twoDevices = (t: TestContext): { machines: Machine[]; a: Device; b: Device } => {
  const root = temporaryFolder(t)
  const machines = createLan(t, ['10.77.0.1/24', '10.77.0.2/24'])
  const [a, b] = machines.map((machine, index) => deviceOn(machine, join(root, 'ab'[index])))
  return { machines, a, b }
}

const prompt = ['inference', '--prompt', 'Once upon a time', '--seed', '7', '--max-tokens', '12']

/** How `device` sees the other one, once it is as wanted. */
const otherPeer = (device: Device, what: string, wanted: (peer: Peer) => boolean): Promise<Peer> =>
  eventually(60_000, what, async () => {
    const peers = await device.tryJson<Peer[]>('pool-peers')
    return peers?.find((peer) => peer.found !== null && peer.latency_ms !== null && wanted(peer))
  })

/** From nothing to an answer, with commands of `mesh` alone. @returns the agent of B, the ring and its answer */
const story = async (
  t: TestContext,
  a: Device,
  b: Device,
): Promise<{ agentB: Awaited<ReturnType<typeof startReady>>; ring: Printed<RingView>; text: string }> => {
  // A makes a pool and hosts it
  await a.run('init', '--network-id', 'home', '--name', 'Desktop')
  await a.run('pool-create', '--name', 'den') // before anything runs
  const { info } = await a.start(t, 'up')
  assert.deepEqual(
    (info.join as { pool: string }[]).map(({ pool }) => pool),
    ['den'],
  )

  // A invites, B joins: the invite works for one device and names an address that B can reach
  const { invite, urls } = await a.json<{ invite: string; urls: string[] }>('pool-invite', '--expires', '10m')
  assert.equal(urls[0], 'https://10.77.0.1:8080')
  const agentB = await b.start(t, 'join', invite, '--name', 'Laptop', '--no-serve')
  assert.equal(agentB.info.control_plane, 'https://10.77.0.1:8080')
  await eventually(15_000, 'the control plane told where the relay is', () => {
    const [relay] = readAgentState(openHome(b.home))?.relays ?? []
    return relay?.reserved && relay.address.startsWith('/ip4/10.77.0.1/tcp/4001/') ? true : undefined
  })

  // both commit memory; B too little to hold anything
  for (const [device, memory, bytes] of [
    [a, '600MB', 600e6],
    [b, '200MB', 200e6],
  ] as const) {
    await device.run('lock-resources', '--memory', memory)
    const { phase, memory_bytes: locked, recorded } = await device.json<Resources>('resource-status')
    assert.deepEqual({ phase, locked, recorded }, { phase: 'locked', locked: bytes, recorded: true })
  }

  // A serves the model since it came up, B joins it; nothing is placed on B, and the ring says why, until B locks more
  await b.run('join-ring', '--model-id', 'tiny-story')
  const laptop = await eventually(10_000, 'the ring tells what B lacks', async () => {
    const [ring] = await b.json<Printed<RingView>[]>('ring-status')
    return ring.members.find(({ name, error }) => name === 'Laptop' && error !== null)
  })
  assert.equal(laptop.rank, null)
  assert.match(laptop.error?.message ?? '', /^tiny-story q8 does not fit: Laptop lacks [\d.]+ MB/)
  await b.run('lock-resources', '--memory', '275MB')
  const ring = await ringOfTwo(b)

  // shares are equal, the columns keep to what is locked: room for one of four key/value heads on B
  const heads = ring.members
    .toSorted((x, y) => (x.rank ?? 0) - (y.rank ?? 0))
    .map(({ name, share, ranges }) => ({ name, share, heads: ranges?.kv_heads }))
  assert.deepEqual(heads, [
    { name: 'Desktop', share: 1, heads: { start: 0, end: 3 } },
    { name: 'Laptop', share: 1, heads: { start: 3, end: 4 } },
  ])

  // B prompts, and sees A
  const { text } = await b.json<{ text: string }>(...prompt)
  assert.ok(text.length > 0)
  const seen = await otherPeer(b, 'the host is seen', ({ address }) => address.startsWith('/ip4/10.77.0.1/tcp/'))
  assert.ok(['mdns', 'control-plane'].includes(seen.found), seen.found)
  assert.match(
    await b.run('pool-peers'),
    /^[0-9a-f]{8} +Desktop +admin +online .*\/ip4\/10\.77\.0\.1\/tcp\/.*^[0-9a-f]{8} +Laptop \(this device\) +member +online /ms,
  )
  return { agentB, ring, text }
}

test(
  'lan: create, invite, join, lock, ring, prompt; then the host moves, then both do, then one forgets nothing',
  { timeout: 900_000, skip: lanImpossible() },
  async (t) => {
    const { machines, a, b } = twoDevices(t)
    const { agentB, ring: first, text } = await story(t, a, b)

    await t.test('the host has another address: its peer finds device and control plane by multicast DNS', async () => {
      machines[0].moveTo('10.77.0.9/24')
      const moved = await otherPeer(b, 'the host is seen at its new address', ({ address }) =>
        address.startsWith('/ip4/10.77.0.9/tcp/'),
      )
      assert.equal(moved.found, 'mdns')
      const { agent } = await eventually(60_000, 'the agent turned to the new address', async () => {
        const status = await b.json<{ agent: { control_plane: { url: string; connected: boolean } } }>('status')
        return status.agent.control_plane.connected && status.agent.control_plane.url.includes('10.77.0.9')
          ? status
          : undefined
      })
      assert.equal(agent.control_plane.url, 'https://10.77.0.9:8080')
      await ringOfTwo(b, first.epoch)
      assert.equal((await b.json<{ text: string }>(...prompt)).text, text)
    })

    await t.test('both are on another network: the ring heals by itself', async () => {
      const [before] = await a.json<Printed<RingView>[]>('ring-status')
      machines[0].moveTo('10.78.0.1/24')
      machines[1].moveTo('10.78.0.2/24')
      await ringOfTwo(b, before.epoch)
      assert.equal((await b.json<{ text: string }>(...prompt)).text, text)
      await otherPeer(a, 'the host sees its peer there', ({ address }) => address.startsWith('/ip4/10.78.0.2/'))
    })

    await t.test('without multicast DNS, the cache leads to the peer, and the peer to the control plane', async () => {
      const before = Date.now()
      await agentB.process.stop()
      await b.start(t, 'start', '--discovery', 'none', '--control-plane', 'http://10.78.0.77:8080') // nobody is there
      const peer = await otherPeer(
        b,
        'the host is found again',
        ({ last_seen_at: seen, found }) => seen > before && found === 'cache',
      )
      assert.match(peer.address, /^\/ip4\/10\.78\.0\.1\/tcp\//)
      await ringOfTwo(b)
      assert.equal((await b.json<{ text: string }>(...prompt)).text, text)
    })

    await t.test(
      'an admin moves the pool to a control plane with another key on the other machine: both agents follow',
      async (st) => {
        const args = ['control-plane', '--host', '0.0.0.0', '--port', '8090', '--json']
        const { info } = await startReady(st, {
          name: 'second control plane',
          program: 'mesh',
          args,
          home: b.home,
          through: machines[1].through,
        })
        const url = 'https://10.78.0.2:8090'
        await a.run('pool-move', '--control-plane', url, '--control-plane-key', String(info.control_plane_key))
        for (const device of [a, b]) {
          const { agent } = await eventually(60_000, 'the agent turned to the new control plane', async () => {
            const status = await device.tryJson<{ agent: { control_plane: { url: string; connected: boolean } } }>(
              'status',
            )
            return status?.agent.control_plane.connected && status.agent.control_plane.url.endsWith(':8090')
              ? status
              : undefined
          })
          // nobody told B: its peer did
          assert.equal(agent.control_plane.url, url)
          await device.run('join-ring', '--model-id', 'tiny-story')
        }
        await ringOfTwo(b)
        assert.equal((await b.json<{ text: string }>(...prompt)).text, text)
      },
    )
  },
)
