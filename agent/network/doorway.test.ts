import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { multiaddr } from '@multiformats/multiaddr'
import { yamux } from '@chainsafe/libp2p-yamux'
import { tcp } from '@libp2p/tcp'
import { tls } from '@libp2p/tls'
import { createLibp2p, type Libp2p } from 'libp2p'
import type { Connection } from '@libp2p/interface'
import { limits } from '../../shared/limits.ts'
import { protocols } from '../../shared/wire/protocols.ts'
import { flood, type FloodOptions, stages } from '../../test/support/flood.ts'
import { createTestPool, type TestNode, type TestPool } from './test/pool-of-nodes.ts'

const until = async (what: string, isSo: () => boolean, ms = 60_000): Promise<void> => {
  for (const deadline = Date.now() + ms; !isSo(); await pause(20))
    assert.ok(Date.now() < deadline, `not in time: ${what}`)
}

const createPool = async (t: TestContext, count: number): Promise<TestPool> => {
  const pool = await createTestPool(count)
  t.after(() => pool.stop())
  return pool
}

const addressOf = ({ node }: TestNode): string => node.addresses()[0]
const portOf = (member: TestNode): number => Number(/\/tcp\/(\d+)/.exec(addressOf(member))?.[1])

/** A node that nobody let in, with all the connections that it likes. */
const createStranger = async (t: TestContext, type: 'Ed25519' | 'secp256k1' = 'Ed25519'): Promise<Libp2p> => {
  const stranger = await createLibp2p({
    privateKey: await (type === 'Ed25519' ? generateKeyPair('Ed25519') : generateKeyPair('secp256k1')),
    addresses: { listen: [] },
    transports: [tcp()],
    connectionEncrypters: [tls()],
    streamMuxers: [yamux()],
    connectionManager: { maxParallelDials: 500 },
  })
  t.after(() => stranger.stop())
  return stranger
}

const dialAgain = (from: Libp2p, to: TestNode): Promise<Connection> =>
  from.dial(multiaddr(addressOf(to)), { force: true, signal: AbortSignal.timeout(60_000) })

const startFlood = (t: TestContext, options: FloodOptions): ReturnType<typeof flood> => {
  const strangers = flood(options)
  t.after(() => strangers.stop())
  return strangers
}

/** One link between two members, and how long it took. */
const link = async (pool: TestPool, epoch: number): Promise<number> => {
  const startedAt = performance.now()
  const channels = await pool.connect(pool.ring([0, 1], epoch), [0, 1])
  await Promise.all(channels.map((channel) => channel.close()))
  return performance.now() - startedAt
}

test(
  'doorway: two members find each other while strangers hold 200 sockets to each, and come again',
  { timeout: 300_000 },
  async (t) => {
    const calm = await link(await createPool(t, 2), 1)
    const pool = await createPool(t, 2)
    const floods = pool.nodes.map((member) => startFlood(t, { port: portOf(member), sockets: 200, againMs: 100 }))
    await until('the doors are full', () => pool.nodes.every(({ node }) => node.doorway.pendingCount >= 48))
    await pause(1000) // they hold what they have
    const ms = await link(pool, 2)
    t.diagnostic(
      `a link: ${calm.toFixed(0)} ms, in the flood ${ms.toFixed(0)} ms after ` +
        `${floods.map(({ opened }) => opened).join(' and ')} sockets`,
    )
    assert.ok(
      pool.nodes.every(({ node }) => node.doorway.pendingCount <= 64 + 256),
      'the places are counted',
    )
  },
)

test(
  'doorway: strangers of hundreds of addresses leave room for members, whose addresses are known',
  { timeout: 300_000 },
  async (t) => {
    const pool = await createPool(t, 2)
    const from = Array.from({ length: 300 }, (_, index) => `127.0.${1 + Math.floor(index / 200)}.${1 + (index % 200)}`)
    const floods = pool.nodes.map((member) => startFlood(t, { port: portOf(member), sockets: 300, from, againMs: 500 }))
    await until('the doors are full', () => pool.nodes.every(({ node }) => node.doorway.pendingCount >= 100))
    await link(pool, 1)
    await until('all of them came', () => floods.every(({ opened }) => opened >= 300))
    assert.ok(
      pool.nodes.every(({ node }) => node.doorway.pendingCount <= 128),
      'strangers have 128 places',
    )
  },
)

test('doorway: each kind of unfinished handshake ends in a few seconds', { timeout: 300_000 }, async (t) => {
  const [member] = (await createPool(t, 1)).nodes
  const strangers = startFlood(t, { port: portOf(member), sockets: Object.keys(stages).length })
  await until('they are in', () => member.node.doorway.pendingCount >= 5)
  await until(
    'they are cut',
    () => member.node.doorway.pendingCount === 0 && strangers.open === 0,
    limits.handshakeMs + 60_000,
  )
})

test(
  'doorway: keys without membership hold few places, for a short time, and nothing is kept of them',
  { timeout: 300_000 },
  async (t) => {
    const pool = await createPool(t, 2)
    const [member] = pool.nodes
    const stranger = await createStranger(t)
    let most = 0
    // one after the other: libp2p would make one connection of many dials
    for (let dial = 0; dial < 100; dial++) {
      await dialAgain(stranger, member).catch(() => undefined)
      most = Math.max(most, member.node.libp2p.getConnections(stranger.peerId).length)
    }
    assert.ok(most >= 16 && most <= 64, `${most} connections`)
    assert.ok(member.node.doorway.pendingCount <= 64)
    assert.ok(member.node.libp2p.getConnections().length <= 64)
    await link(pool, 1)
    await until('they are gone', () => member.node.libp2p.getConnections(stranger.peerId).length === 0)
    await until('and forgotten', () => member.node.doorway.pendingCount === 0)
    await assert.rejects(member.node.libp2p.peerStore.get(stranger.peerId))
  },
)

test('doorway: a stranger that opens streams by the hundred is cut at once', async (t) => {
  const [member] = (await createPool(t, 1)).nodes
  const stranger = await createStranger(t)
  const connection = await dialAgain(stranger, member)
  const startedAt = Date.now()
  await Promise.allSettled(
    Array.from({ length: 300 }, () => connection.newStream(protocols.gate, { signal: AbortSignal.timeout(4000) })),
  )
  await until('its connection is cut', () => member.node.libp2p.getConnections(stranger.peerId).length === 0)
  assert.ok(Date.now() - startedAt < limits.gateMs, 'long before the gate gives up')
})

test("doorway: a key that is no device's does not come in", async (t) => {
  const [member] = (await createPool(t, 1)).nodes
  await dialAgain(await createStranger(t, 'secp256k1'), member).catch(() => undefined)
  await until(
    'it is cut',
    () => member.node.libp2p.getConnections().length === 0 && member.node.doorway.pendingCount === 0,
  )
})

test(
  'doorway: a member has sixteen connections, however many it opens; the others come in',
  { timeout: 300_000 },
  async (t) => {
    const pool = await createPool(t, 3)
    const [member, greedy] = pool.nodes
    const entered: PromiseSettledResult<void>[] = []
    for (let dial = 0; dial < 24; dial++) {
      const connection = await dialAgain(greedy.node.libp2p, member)
      entered.push(
        ...(await Promise.allSettled([greedy.gate.enter(connection, pool.poolId, AbortSignal.timeout(60_000))])),
      )
    }
    assert.equal(entered.filter(({ status }) => status === 'fulfilled').length, 16)
    const reasons = entered.flatMap((result) => (result.status === 'rejected' ? [String(result.reason)] : []))
    assert.ok(
      reasons.every((reason) => /16 connections already/.test(reason)),
      reasons.join('\n'),
    )
    const [, , third] = pool.nodes
    const connection = await third.node.libp2p.dial(multiaddr(addressOf(member)))
    await third.gate.enter(connection, pool.poolId, AbortSignal.timeout(60_000))
  },
)
