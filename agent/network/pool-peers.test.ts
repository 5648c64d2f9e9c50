/** Finding each other, on real nodes: the hints are given by hand or by multicast DNS on this machine. */
import assert from 'node:assert/strict'
import type { PeerInfo } from '@libp2p/interface'
import { mdns, type MulticastDNSComponents } from '@libp2p/mdns'
import { test, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { issueCertificate, poolIdOf } from '../../shared/identity/pool-certificate.ts'
import { deviceIdOf } from '../../shared/identity/device-key.ts'
import { newKeyPair } from '../../shared/identity/keys.ts'
import { silentLogger } from '../../shared/log.ts'
import type { Sighting } from '../device/known-peers.ts'
import { ControlPlaneExchange } from './control-plane-exchange.ts'
import { Gate } from './gate.ts'
import { instanceNameOf, MdnsDiscovery, serviceTagOf } from './mdns-discovery.ts'
import { createNode, type MeshNode } from './node.ts'
import { peerIdOf } from './peer-id.ts'
import { PoolPeers } from './pool-peers.ts'

const logger = silentLogger()
const root = newKeyPair()
const poolId = poolIdOf(root.publicKey)

interface Member {
  readonly node: MeshNode
  readonly peers: PoolPeers
  readonly exchange: ControlPlaneExchange
  readonly seen: Sighting[]
}

/** @param signer of its certificate: a stranger has one that another root signed */
const createMember = async (t: TestContext, signer = root): Promise<Member> => {
  const key = newKeyPair()
  const node = await createNode({ key, listen: ['/ip4/127.0.0.1/tcp/0'], announce: [], relays: [], logger })
  const certificate = issueCertificate(signer, { deviceId: deviceIdOf(key), role: 'member' }, Date.now())
  const seen: Sighting[] = []
  const gate = new Gate(
    node,
    { rootKeyOf: (id) => (id === poolId ? root.publicKey : undefined), certificateOf: () => certificate },
    { now: Date.now, logger, onAdmit: (connection, id) => peers.admitted(connection, id) },
  )
  const peers: PoolPeers = new PoolPeers({
    node,
    gate,
    logger,
    now: Date.now,
    poolIds: () => [poolId],
    onSeen: (sighting) => void seen.push(sighting),
  })
  const exchange = new ControlPlaneExchange({
    node,
    gate,
    logger,
    answer: async () => ['http://10.0.0.1:8080'],
    pinOf: () => undefined,
    onPin: () => {},
  })
  t.after(async () => {
    peers.stop()
    gate.stop()
    await node.stop()
  })
  return { node, peers, exchange, seen }
}

const until = async (what: string, isSo: () => boolean): Promise<void> => {
  for (const deadline = Date.now() + 60_000; !isSo(); await pause(20))
    assert.ok(Date.now() < deadline, `not in time: ${what}`)
}

test('peers: a hint leads to a member; both remember where it listens, and how far it is', async (t) => {
  const [a, b] = [await createMember(t), await createMember(t)]
  // addresses that lead nowhere do not keep it from the good one
  a.peers.hint({
    poolId,
    peer: b.node.libp2p.peerId,
    addresses: ['/ip4/127.0.0.1/tcp/1', ...b.node.addresses(), '/ip4/127.0.0.1/tcp/2'],
    found: 'cache',
  })
  await until('both see each other with a latency', () =>
    [a, b].every(({ seen }) => seen.at(-1)?.latencyMs !== undefined),
  )
  const addressOf = ({ node }: Member): string => node.addresses()[0].replace(/\/p2p\/.*/, '')
  assert.deepEqual([a.seen.at(-1)?.found, a.seen.at(-1)?.dialable], ['cache', addressOf(b)])
  await until(
    'the dialled one knows where the dialler listens',
    () => b.seen.at(-1)?.dialable !== undefined || (void b.peers.look(), false),
  )
  assert.deepEqual([b.seen.at(-1)?.found, b.seen.at(-1)?.dialable], ['inbound', addressOf(a)])
})

test('peers: a stranger that is told of is not kept, and members tell it nothing', async (t) => {
  const [a, stranger] = [await createMember(t), await createMember(t, newKeyPair())]
  a.peers.hint({ poolId, peer: stranger.node.libp2p.peerId, addresses: stranger.node.addresses(), found: 'mdns' })
  const connection = await stranger.node.libp2p.dial(a.node.libp2p.getMultiaddrs())
  assert.deepEqual(await stranger.exchange.ask(connection, poolId), [])
  await until('the connection is closed', () => a.node.libp2p.getConnections(stranger.node.libp2p.peerId).length === 0)
  assert.deepEqual(a.seen, [])
})

test(
  'peers: false announcements by the thousand keep no member from being found, or from its true address',
  { timeout: 300_000 },
  async (t) => {
    const [a, b, c] = [await createMember(t), await createMember(t), await createMember(t)]
    const nowhere = (index: number): string[] =>
      Array.from({ length: 20 }, (_, host) => `/ip4/127.0.0.1/tcp/${1 + ((20 * index + host) % 1000)}`)
    for (let index = 0; index < 1000; index++)
      a.peers.hint({ poolId, peer: peerIdOf(deviceIdOf(newKeyPair())), addresses: nowhere(index), found: 'mdns' })
    a.peers.hint({ poolId, peer: b.node.libp2p.peerId, addresses: b.node.addresses(), found: 'cache' })
    for (let index = 0; index < 100; index++)
      a.peers.hint({ poolId, peer: b.node.libp2p.peerId, addresses: nowhere(index), found: 'mdns' })
    a.peers.hint({ poolId, peer: c.node.libp2p.peerId, addresses: c.node.addresses(), found: 'control-plane' })
    await until('both members are connected', () => a.peers.membersOf(poolId).length === 2)
  },
)

test('peers: a member tells which control plane it uses', async (t) => {
  const [a, b] = [await createMember(t), await createMember(t)]
  a.peers.hint({ poolId, peer: b.node.libp2p.peerId, addresses: b.node.addresses(), found: 'mdns' })
  await until('they are connected', () => a.peers.membersOf(poolId).length > 0)
  assert.deepEqual(await a.exchange.ask(a.peers.membersOf(poolId)[0], poolId), ['http://10.0.0.1:8080'])
})

test('multicast DNS: the names tell no pool id, and other pools have others', () => {
  assert.match(serviceTagOf(poolId), /^_mesh-[0-9a-f]{32}\._udp\.local$/)
  assert.ok(
    !serviceTagOf(poolId).includes(poolId.slice(0, 8)) && !instanceNameOf(poolId, 'peer').includes(poolId.slice(0, 8)),
  )
  assert.notEqual(serviceTagOf(poolId), serviceTagOf('0'.repeat(64)))
  assert.ok(instanceNameOf(poolId, 'peer').length <= 63, 'one DNS label')
})

test('multicast DNS: a node finds another of its pool, and ignores one that only heard the name', async (t) => {
  const [a, b, liar] = [await createMember(t), await createMember(t), await createMember(t)]
  const [found, heard]: string[][] = [[], []]
  // the library by itself: it answers under the tag of the pool, which it may have heard, and believes everybody
  const bare = async ({ node }: Member): Promise<void> => {
    const service = mdns({ serviceTag: serviceTagOf(poolId) })(
      (node.libp2p as unknown as { components: MulticastDNSComponents }).components,
    ) as unknown as { start(): Promise<void>; stop(): Promise<void> } & EventTarget
    service.addEventListener('peer', (event) => heard.push((event as CustomEvent<PeerInfo>).detail.id.toString()))
    t.after(() => service.stop())
    await service.start()
  }
  const search = async ({ node }: Member): Promise<void> => {
    const discovery = new MdnsDiscovery({
      libp2p: node.libp2p,
      poolId,
      logger,
      onFound: (peer) => found.push(peer.toString()),
    })
    t.after(() => discovery.stop())
    await discovery.start()
  }
  await bare(liar)
  await search(b)
  await search(a)
  await until('both find each other', () => found.includes(b.node.peerId) && found.includes(a.node.peerId))
  await bare(b)
  await until('the liar is heard', () => heard.includes(liar.node.peerId))
  assert.ok(!found.includes(liar.node.peerId))
})
