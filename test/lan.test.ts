/** Two machines on one network and nothing else: no internet, no other control plane, no default route. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { RingView } from '../shared/schema/ring.ts'
import { temporaryFolder } from './support/homes.ts'
import { createLan, lanImpossible, type Machine } from './support/lan.ts'
import { eventually, mesh, runMesh, startReady } from './support/processes.ts'

interface Peer {
  readonly name: string
  readonly address: string
  readonly found: string
  readonly latencyMs: number | null
  readonly lastSeenAt: number
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
  start: (t, ...args) => startReady(t, { name: `${args[0]} in ${home}`, program: 'mesh', args: [...args, '--json', '--threads', '1'], home, through, stopMs: 20_000 }),
})

const ringOfTwo = (device: Device, after = 0): Promise<RingView> =>
  eventually(60_000, 'the ring is active with both devices', async () => {
    const [ring] = (await device.tryJson<RingView[]>('ring-status')) ?? []
    return ring?.status === 'active' && ring.worldSize === 2 && ring.epoch > after ? ring : undefined
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
    return peers?.find((peer) => peer.found !== null && peer.latencyMs !== null && wanted(peer))
  })

test('lan: create, up, join, ring, prompt; then the host moves, then both do, then one forgets nothing', { timeout: 300_000, skip: lanImpossible() }, async (t) => {
  const { machines, a, b } = twoDevices(t)
  await a.run('init', '--network-id', 'home', '--name', 'Desktop')
  await a.run('pool-create', '--name', 'den') // before anything runs
  const { info } = await a.start(t, 'up')
  const { pool, lines } = (info.join as { pool: string; lines: string[] }[])[0]
  assert.equal(pool, 'den')
  assert.match(lines[0], /--control-plane http:\/\/10\.77\.0\.1:8080$/)
  const [init, poolJoin, start] = lines.map((line) => line.split(' ').slice(1))
  await b.run(...init)
  await b.run(...poolJoin)
  const agentB = await b.start(t, ...start)
  await a.run('join-ring')
  await b.run('join-ring')
  const first = await ringOfTwo(b)
  const { text } = await b.json<{ text: string }>(...prompt)
  assert.ok(text.length > 0)
  const seen = await otherPeer(b, 'the host is seen', ({ address }) => address.startsWith('/ip4/10.77.0.1/tcp/'))
  assert.ok(['mdns', 'control-plane'].includes(seen.found), seen.found)

  await t.test('the host has another address: its peer finds device and control plane by multicast DNS', async () => {
    machines[0].moveTo('10.77.0.9/24')
    const moved = await otherPeer(b, 'the host is seen at its new address', ({ address }) => address.startsWith('/ip4/10.77.0.9/tcp/'))
    assert.equal(moved.found, 'mdns')
    const { agent } = await eventually(60_000, 'the agent turned to the new address', async () => {
      const status = await b.json<{ agent: { controlPlane: { url: string; connected: boolean } } }>('status')
      return status.agent.controlPlane.connected && status.agent.controlPlane.url.includes('10.77.0.9') ? status : undefined
    })
    assert.equal(agent.controlPlane.url, 'http://10.77.0.9:8080')
    await ringOfTwo(b, first.epoch)
    assert.equal((await b.json<{ text: string }>(...prompt)).text, text)
  })

  await t.test('both are on another network: the ring heals by itself', async () => {
    const [before] = await a.json<RingView[]>('ring-status')
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
    const peer = await otherPeer(b, 'the host is found again', ({ lastSeenAt, found }) => lastSeenAt > before && found === 'cache')
    assert.match(peer.address, /^\/ip4\/10\.78\.0\.1\/tcp\//)
    await ringOfTwo(b)
    assert.equal((await b.json<{ text: string }>(...prompt)).text, text)
  })
})
