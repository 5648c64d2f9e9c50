/** How the ranks of an epoch find each other when something is in the way. */
import assert from 'node:assert/strict'
import { createServer, connect, type Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import { deviceIdOf } from '../../shared/identity/device-key.ts'
import { newKeyPair } from '../../shared/identity/keys.ts'
import { issueCertificate, poolIdOf } from '../../shared/identity/pool-certificate.ts'
import type { RingEpoch } from '../../shared/schema/ring.ts'
import { decodeCbor, encodeCbor, RingAnswer, type RingHello } from '../../shared/wire/envelope.ts'
import { limits } from '../../shared/limits.ts'
import { protocols } from '../../shared/wire/protocols.ts'
import { checkAllReduce } from '../collective/test/contract.ts'
import { createRingCollective } from '../collective/ring.ts'
import { readMessage, sendMessage } from '../../shared/wire/message-stream.ts'
import {
  createTestNode,
  createTestPool,
  type TestNode,
  type TestPool,
  type TestPoolOptions,
} from './test/pool-of-nodes.ts'

const poolOf = async (t: TestContext, count: number, options: TestPoolOptions = {}): Promise<TestPool> => {
  const pool = await createTestPool(count, options)
  t.after(() => pool.stop())
  return pool
}
const never = new AbortController().signal

/** Forwards to a port, until it is told to swallow everything. */
const startProxy = async (t: TestContext, port: number): Promise<{ port: number; swallow(): void }> => {
  const sockets = new Set<Socket>()
  let silent = false
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1')
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from)
      from
        .on('data', (bytes) => void (silent || to.write(bytes)))
        .on('error', () => {})
        .on('close', () => to.destroy())
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('a TCP server has a port')
  return { port: address.port, swallow: () => (silent = true) }
}

const withAddress = (ring: RingEpoch, rank: number, address: string): RingEpoch => ({
  ...ring,
  members: ring.members.map((member) => (member.rank === rank ? { ...member, addresses: [address] } : member)),
})

test('dial: a rank that is an epoch behind is told so at once', async (t) => {
  const pool = await poolOf(t, 2)
  const channels = await pool.connect(pool.ring([0, 1], 5), [0, 1])
  t.after(() => Promise.all(channels.map((channel) => channel.close())))
  await assert.rejects(pool.nodes[0].streams.open({ ring: pool.ring([0, 1], 4), rank: 0, signal: never }), {
    code: 'epochStale',
    fields: { got: 4, want: 5 },
  })
})

test('dial: who gives up on an epoch that the other does not know says which', async (t) => {
  const pool = await poolOf(t, 2, { connectTimeoutMs: 2000 })
  await assert.rejects(
    pool.nodes[0].streams.open({ ring: pool.ring([0, 1], 4), rank: 0, signal: never }),
    (error: unknown) =>
      error instanceof MeshError &&
      error.code === 'peerUnreachable' &&
      error.fields.peer === 'node 1' &&
      /epoch 4/.test(error.message),
  )
  await assert.rejects(
    pool.nodes[1].streams.open({ ring: pool.ring([0, 1], 4), rank: 1, signal: never }),
    (error: unknown) =>
      error instanceof MeshError && error.code === 'peerUnreachable' && error.fields.peer === 'node 0',
  )
})

test('dial: giving up passes on the reason of the signal, on both sides', async (t) => {
  const pool = await poolOf(t, 2)
  for (const rank of [0, 1]) {
    const abort = new AbortController()
    const opening = pool.nodes[rank].streams.open({ ring: pool.ring([0, 1], 10 + rank), rank, signal: abort.signal })
    abort.abort(new MeshError('epochStale', { got: 1, want: 2 }))
    await assert.rejects(opening, { code: 'epochStale', fields: { got: 1, want: 2 } })
  }
})

test('dial: one of several addresses is enough', async (t) => {
  const pool = await poolOf(t, 2)
  const ring = pool.ring([0, 1])
  const dead = ['/ip4/127.0.0.1/tcp/1', '/ip4/127.0.0.1/tcp/2']
  const members = ring.members.map((member) => ({ ...member, addresses: [...dead, ...member.addresses] }))
  const channels = await pool.connect({ ...ring, members }, [0, 1])
  t.after(() => Promise.all(channels.map((channel) => channel.close())))
  await checkAllReduce(
    channels.map((channel) => createRingCollective(channel)),
    100,
  )
})

test('dial: a malformed address does not hide a good one', async (t) => {
  const pool = await poolOf(t, 2)
  const ring = pool.ring([0, 1])
  const members = ring.members.map((member) => ({
    ...member,
    addresses: ['nonsense', '/ip4/999.1.1.1/tcp/1', ...member.addresses],
  }))
  const channels = await pool.connect({ ...ring, members }, [0, 1])
  await Promise.all(channels.map((channel) => channel.close()))
})

test('dial: a rank that names no address is told so', async (t) => {
  const pool = await poolOf(t, 2, { connectTimeoutMs: 300 })
  const ring = withAddress(pool.ring([0, 1]), 1, 'nonsense')
  await assert.rejects(pool.nodes[0].streams.open({ ring, rank: 0, signal: never }), {
    code: 'peerUnreachable',
    fields: { peer: 'node 1', problem: 'it names no address' },
  })
})

test('dial: another device at the address of a rank is not taken for it', async (t) => {
  const pool = await poolOf(t, 3, { connectTimeoutMs: 800 })
  const ring = withAddress(
    pool.ring([0, 1]),
    1,
    pool.nodes[2].node.libp2p.getMultiaddrs()[0].toString().split('/p2p/')[0],
  )
  await assert.rejects(pool.nodes[0].streams.open({ ring, rank: 0, signal: never }), { code: 'peerUnreachable' })
})

/** What a node gets that says this hello by hand, on a connection that passed the gate of a pool. */
const sayHello = async (from: TestNode, to: TestNode, poolId: string, hello: RingHello): Promise<RingAnswer> => {
  const connection = await from.node.libp2p.dial(to.node.libp2p.getMultiaddrs())
  await from.gate.enter(connection, poolId, AbortSignal.timeout(60_000))
  const stream = await connection.newStream(protocols.ring)
  sendMessage(stream, encodeCbor(hello))
  return decodeCbor(RingAnswer, await readMessage(stream, limits.gateBytes, AbortSignal.timeout(60_000)))
}

const codeOf = (answer: RingAnswer): string => ('error' in answer ? answer.error.code : 'accepted')

test('dial: a member that poses as another rank is refused, and the true rank gets in', async (t) => {
  const pool = await poolOf(t, 3)
  const ring = pool.ring([0, 1])
  const waiting = pool.nodes[1].streams.open({ ring, rank: 1, signal: never })
  const hello = { poolId: pool.poolId, ringId: ring.ringId, epoch: ring.epoch, rank: 0, worldSize: 2 }
  assert.equal(codeOf(await sayHello(pool.nodes[2], pool.nodes[1], pool.poolId, hello)), 'notMember')
  assert.equal(codeOf(await sayHello(pool.nodes[2], pool.nodes[1], pool.poolId, { ...hello, rank: 1 })), 'frameInvalid')
  assert.equal(
    codeOf(await sayHello(pool.nodes[2], pool.nodes[1], pool.poolId, { ...hello, worldSize: 3 })),
    'frameInvalid',
  )
  const channels = await Promise.all([pool.nodes[0].streams.open({ ring, rank: 0, signal: never }), waiting])
  t.after(() => Promise.all(channels.map((channel) => channel.close())))
  await checkAllReduce(
    channels.map((channel) => createRingCollective(channel)),
    10,
  )
})

test('dial: the gate of one pool does not open a ring of another', async (t) => {
  const roots = [newKeyPair(), newKeyPair()]
  const poolIds = roots.map(({ publicKey }) => poolIdOf(publicKey))
  const keys = [newKeyPair(), newKeyPair()]
  const nodes = await Promise.all(
    keys.map((key) =>
      createTestNode(
        key,
        {
          rootKeyOf: (id) => roots.find((_, pool) => poolIds[pool] === id)?.publicKey,
          certificateOf: (id) =>
            issueCertificate(
              roots[id === poolIds[0] ? 0 : 1],
              { deviceId: deviceIdOf(key), role: 'member' },
              Date.now(),
            ),
        },
        { connectTimeoutMs: 3000 },
      ),
    ),
  )
  t.after(() => Promise.all(nodes.map(({ node }) => node.stop())))
  const pool = await poolOf(t, 2) // for the shape of a ring
  const shape = pool.ring([0, 1])
  const ring = {
    ...shape,
    poolId: poolIds[1],
    members: shape.members.map((member, index) => ({
      ...member,
      deviceId: deviceIdOf(keys[index]),
      addresses: nodes[index].node.addresses(),
    })),
  }
  const waiting = nodes[1].streams.open({ ring, rank: 1, signal: never })
  const hello = { poolId: poolIds[1], ringId: ring.ringId, epoch: ring.epoch, rank: 0, worldSize: 2 }
  assert.equal(codeOf(await sayHello(nodes[0], nodes[1], poolIds[0], hello)), 'notMember')
  assert.equal(codeOf(await sayHello(nodes[0], nodes[1], poolIds[1], hello)), 'accepted')
  await (await waiting).close()
})

test('dial: a connection that went silent is replaced', { timeout: 300_000 }, async (t) => {
  const pool = await poolOf(t, 2, { attemptMs: 2000 })
  const port = Number(/tcp\/(\d+)/.exec(pool.nodes[1].node.addresses()[0])?.[1])
  const proxy = await startProxy(t, port)
  const ring = withAddress(pool.ring([0, 1], 1), 1, `/ip4/127.0.0.1/tcp/${proxy.port}`)
  const first = await pool.connect(ring, [0, 1])
  await Promise.all(first.map((channel) => channel.close()))
  proxy.swallow()
  const second = await pool.connect(pool.ring([0, 1], 2), [0, 1])
  t.after(() => Promise.all(second.map((channel) => channel.close())))
  await checkAllReduce(
    second.map((channel) => createRingCollective(channel)),
    100,
  )
})

test(
  'dial: eight ranks that start at once all find each other, several rings at a time',
  { timeout: 300_000 },
  async (t) => {
    // 24 links a rank in one process: on a busy machine an attempt may take long, and so may a step
    const pool = await poolOf(t, 8, { attemptMs: 60_000, connectTimeoutMs: 200_000, stepTimeoutMs: 60_000 })
    const orders = [
      [0, 1, 2, 3, 4, 5, 6, 7],
      [7, 6, 5, 4, 3, 2, 1, 0],
      [3, 1, 4, 5, 2, 6, 0, 7],
    ]
    await Promise.all(
      orders.map(async (members, index) => {
        const ring = { ...pool.ring(members), ringId: `ring_${index}` }
        const channels = await pool.connect(ring, members)
        await checkAllReduce(
          channels.map((channel) => createRingCollective(channel)),
          1000,
          index + 1,
        )
        await Promise.all(channels.map((channel) => channel.close()))
      }),
    )
  },
)
