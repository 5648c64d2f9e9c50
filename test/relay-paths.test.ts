/** What a relay must carry, and what agents do when it comes and goes. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { openLinks } from '../agent/rank/open-links.ts'
import { checkAllReduce } from '../agent/collective/test/contract.ts'
import { createRingCollective } from '../agent/collective/ring.ts'
import { isRelayed } from '../shared/peer-address.ts'
import { createNode, type MeshNode } from '../agent/network/node.ts'
import { openStream } from '../agent/network/open-stream.ts'
import { createTestPool } from '../agent/network/test/pool-of-nodes.ts'
import { SocketEnds } from '../agent/channel/sockets/socket-ends.ts'
import type { MeshError } from '../shared/errors.ts'
import { newKeyPair } from '../shared/identity/keys.ts'
import { silentLogger } from '../shared/log.ts'
import { protocols } from '../shared/wire/protocols.ts'
import { type Relay, startRelay } from '../relay-server/relay.ts'
import type { ManagedProcess } from '../agent/cli/managed-process.ts'
import { temporaryFolder } from './support/homes.ts'
import { eventually, startReady, within } from './support/processes.ts'

const relayProcess = async (
  t: TestContext,
  home: string,
  port: string,
): Promise<{ process: ManagedProcess; address: string }> => {
  const { process, info } = await startReady(t, {
    name: 'relay',
    program: 'relay',
    args: ['--json', '--host', '127.0.0.1', '--port', port],
    home,
  })
  return { process, address: (info.addresses as string[])[0] }
}

const reserved = (nodes: readonly MeshNode[], wanted: boolean): Promise<true> =>
  eventually(15_000, wanted ? 'all hold a slot' : 'all lost their slot', () =>
    nodes.every((node) => node.relays()[0].reserved === wanted) ? true : undefined,
  )

test(
  'relay: agents reserve again when it is restarted, and reach each other as before',
  { timeout: 300_000 },
  async (t) => {
    const home = join(temporaryFolder(t), 'relay')
    const first = await relayProcess(t, home, '0')
    const pool = await createTestPool(2, { listen: [], relays: [first.address] })
    t.after(() => pool.stop())
    const nodes = pool.nodes.map(({ node }) => node)
    await reserved(nodes, true)
    await first.process.stop()
    await reserved(nodes, false)
    assert.ok(
      nodes.every((node) => node.addresses().length === 0),
      'no address is told that leads nowhere',
    )
    const second = await relayProcess(t, home, /tcp\/(\d+)/.exec(first.address)?.[1] as string)
    assert.equal(second.address, first.address)
    await reserved(nodes, true)
    const channels = await pool.connect(pool.ring([0, 1]), [0, 1])
    t.after(() => Promise.all(channels.map((channel) => channel.close())))
    await checkAllReduce(
      channels.map((channel) => createRingCollective(channel)),
      1000,
    )
  },
)

test('relay: one that dies takes the links over it down at once', { timeout: 300_000 }, async (t) => {
  const { process, address } = await relayProcess(t, join(temporaryFolder(t), 'relay'), '0')
  const pool = await createTestPool(2, { listen: [], relays: [address], stepTimeoutMs: 20_000 })
  t.after(() => pool.stop())
  await reserved(
    pool.nodes.map(({ node }) => node),
    true,
  )
  const channels = await pool.connect(pool.ring([0, 1]), [0, 1])
  const running = channels.map((channel, index) =>
    assert.rejects(
      channel.receive(1 - index, { job: 1, step: 0, operation: 0, phase: 3, chunk: 0 }),
      (error: MeshError) => {
        assert.deepEqual(
          [error.code, error.fields.device, error.fields.peer],
          ['relayLost', `node ${index}`, `node ${1 - index}`],
        )
        return /^the relay between node \d and node \d \(rank \d\) is gone: /.test(error.message)
      },
    ),
  )
  process.signal('SIGKILL')
  await within(2000, 'both ranks know', Promise.all(running))
})

test('relay: a rank that dies behind one that lives is lost, and not the relay', { timeout: 300_000 }, async (t) => {
  const { address } = await relayProcess(t, join(temporaryFolder(t), 'relay'), '0')
  const pool = await createTestPool(2, { listen: [], relays: [address], stepTimeoutMs: 20_000 })
  t.after(() => pool.stop())
  await reserved(
    pool.nodes.map(({ node }) => node),
    true,
  )
  const [stays] = await pool.connect(pool.ring([0, 1]), [0, 1])
  const waiting = assert.rejects(stays.receive(1, { job: 1, step: 0, operation: 0, phase: 3, chunk: 0 }), {
    code: 'peerLost',
  })
  await pool.nodes[1].node.stop()
  await within(5000, 'the other rank knows', waiting)
})

test(
  'relay: ranks with a relay between them agree at once that sums stay on the streams',
  { timeout: 300_000 },
  async (t) => {
    const { address } = await relayProcess(t, join(temporaryFolder(t), 'relay'), '0')
    const pool = await createTestPool(2, { listen: [], relays: [address] })
    t.after(() => pool.stop())
    await reserved(
      pool.nodes.map(({ node }) => node),
      true,
    )
    const channels = await pool.connect(pool.ring([0, 1]), [0, 1])
    t.after(() => Promise.all(channels.map((channel) => channel.close())))
    const opening = Promise.all(
      channels.map((channel) =>
        openLinks({
          channel,
          host: new SocketEnds(),
          epoch: 1,
          names: ['node 0', 'node 1'],
          logger: silentLogger(),
          wanted: true,
        }),
      ),
    )
    assert.deepEqual(
      await within(2000, 'both ranks agree', opening),
      [0, 1].map(() => 'node 0: there is a relay between two ranks'),
    )
  },
)

const bareNode = async (t: TestContext, relay: Relay, logger = silentLogger()): Promise<MeshNode> => {
  const node = await createNode({ key: newKeyPair(), listen: [], announce: [], relays: [relay.addresses[0]], logger })
  t.after(() => node.stop())
  return node
}

const startedRelay = async (t: TestContext, maxReservations: number): Promise<Relay> => {
  const relay = await startRelay({
    key: newKeyPair(),
    host: '127.0.0.1',
    port: 0,
    announce: [],
    maxReservations,
    pools: [],
    lists: join(temporaryFolder(t), 'lists'),
    logger: silentLogger(),
  })
  t.after(() => relay.stop())
  return relay
}

test('relay: its loss is noticed at once, not at the next look', { timeout: 300_000 }, async (t) => {
  const relay = await startedRelay(t, 2)
  const { promise: warned, resolve } = Promise.withResolvers<void>()
  const node = await bareNode(t, relay, Object.assign(silentLogger(), { warn: () => resolve() }))
  await reserved([node], true)
  await relay.stop()
  await within(2000, 'the agent tries again', warned)
})

test('relay: where a direct connection exists too, links take it', { timeout: 300_000 }, async (t) => {
  const relay = await startedRelay(t, 10)
  const pool = await createTestPool(2, { relays: [relay.addresses[0]] })
  t.after(() => pool.stop())
  const [a, b] = pool.nodes.map(({ node }) => node)
  await reserved([a, b], true)
  const relayed = b.libp2p.getMultiaddrs().filter((address) => isRelayed(address))
  const direct = b.libp2p.getMultiaddrs().filter((address) => !isRelayed(address))
  const first = await a.libp2p.dial(relayed)
  const second = await a.libp2p.dial(direct, { force: true })
  await first.newStream('/ipfs/id/1.0.0').then((stream) => stream.close()) // it works
  const channels = await pool.connect(pool.ring([0, 1]), [0, 1])
  t.after(() => Promise.all(channels.map((channel) => channel.close())))
  assert.ok(!first.streams.some(({ protocol }) => protocol === protocols.ring))
  assert.ok(second.streams.some(({ protocol }) => protocol === protocols.ring))
})

test('relay: one device has circuits to forty others', { timeout: 300_000 }, async (t) => {
  const relay = await startedRelay(t, 100)
  const nodes = await Promise.all(Array.from({ length: 41 }, () => bareNode(t, relay)))
  await reserved(nodes, true)
  const [first, ...others] = nodes
  const connections = await Promise.all(others.map((node) => first.libp2p.dial(node.libp2p.getMultiaddrs())))
  assert.equal(connections.length, 40)
})

test('relay: it holds as many slots as it was told to', { timeout: 300_000 }, async (t) => {
  const relay = await startedRelay(t, 2)
  const nodes = [await bareNode(t, relay), await bareNode(t, relay)]
  await reserved(nodes, true)
  const { promise: warned, resolve } = Promise.withResolvers<void>()
  const third = await bareNode(t, relay, Object.assign(silentLogger(), { warn: () => resolve() }))
  await within(10_000, 'the third is told', warned)
  assert.equal(third.relays()[0].reserved, false)
  await nodes[0].stop()
  await reserved([third], true)
})

test(
  'relay: a reader that stops for a while slows the sender down and loses nothing',
  { timeout: 300_000 },
  async (t) => {
    const relay = await startedRelay(t, 10)
    const [near, far] = [await bareNode(t, relay), await bareNode(t, relay)]
    await reserved([near, far], true)
    const total = 48 * 2 ** 20
    let received = 0
    const { promise: done, resolve, reject } = Promise.withResolvers<void>()
    await far.libp2p.handle(
      '/test/1.0.0',
      (stream) => {
        stream.addEventListener('close', () =>
          received < total ? reject(new Error(`closed after ${received} bytes`)) : undefined,
        )
        stream.addEventListener('message', ({ data }) => {
          const before = received
          received += data.byteLength
          if (received >= total) resolve()
          else if (before >> 24 !== received >> 24) {
            // each 16 MiB
            stream.pause()
            setTimeout(() => stream.resume(), 300)
          }
        })
      },
      { runOnLimitedConnection: true },
    )
    const connection = await near.libp2p.dial(far.libp2p.getMultiaddrs())
    const stream = await openStream(connection, '/test/1.0.0', AbortSignal.timeout(5000))
    const piece = new Uint8Array(2 ** 20)
    for (let sent = 0; sent < total; sent += piece.length) {
      stream.send(piece)
      while (stream.writableNeedsDrain)
        await new Promise((drained) => stream.addEventListener('drain', drained, { once: true }))
    }
    await within(40_000, 'all is there', done)
  },
)
