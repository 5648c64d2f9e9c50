/** Relays for everyone and for some pools only: who gets a slot, who reaches whom, over real sockets. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { multiaddr } from '@multiformats/multiaddr'
import { createRingCollective } from '../agent/collective/ring.ts'
import { checkAllReduce } from '../agent/collective/test/contract.ts'
import { isRelayed } from '../shared/peer-address.ts'
import { createNode, type MeshNode } from '../agent/network/node.ts'
import type { Credential } from '../agent/network/relay-proof.ts'
import { createTestPool } from '../agent/network/test/pool-of-nodes.ts'
import { type Relay, startRelay } from '../relay-server/relay.ts'
import { deviceIdOf } from '../shared/identity/device-key.ts'
import { type KeyPair, newKeyPair, toHex } from '../shared/identity/keys.ts'
import { issueCertificate, poolIdOf } from '../shared/identity/pool-certificate.ts'
import { readRevocations, signRevocations } from '../shared/identity/revocation-list.ts'
import { silentLogger } from '../shared/log.ts'
import { limits } from '../shared/limits.ts'
import { protocols } from '../shared/wire/protocols.ts'
import { flood } from './support/flood.ts'
import { temporaryFolder } from './support/homes.ts'
import { eventually, mesh, startReady } from './support/processes.ts'

const idOf = (root: KeyPair): string => poolIdOf(root.publicKey)

const relayFor = async (
  t: TestContext,
  pools: readonly KeyPair[],
  {
    key = newKeyPair(),
    lists = join(temporaryFolder(t), 'lists'),
  }: { readonly key?: KeyPair; readonly lists?: string } = {},
): Promise<Relay> => {
  const relay = await startRelay({
    key,
    host: '127.0.0.1',
    port: 0,
    announce: [],
    maxReservations: 10,
    pools: pools.map(idOf),
    lists,
    logger: silentLogger(),
  })
  t.after(() => relay.stop())
  return relay
}

const credentialOf = (
  root: KeyPair,
  key: KeyPair,
  change: Partial<Credential> = {},
  lifetimeMs?: number,
): Credential => ({
  poolId: idOf(root),
  rootPublicKey: toHex(root.publicKey),
  certificate: issueCertificate(root, { deviceId: deviceIdOf(key), role: 'member' }, Date.now(), lifetimeMs),
  ...change,
})

/** A device that listens nowhere but at the relay, if at any. */
const nodeAt = async (
  t: TestContext,
  relays: readonly Relay[],
  credentials: (key: KeyPair) => readonly Credential[],
  key = newKeyPair(),
): Promise<MeshNode> => {
  const shown = credentials(key)
  const node = await createNode({
    key,
    listen: [],
    announce: [],
    relays: relays.map(({ addresses }) => addresses[0]),
    credentials: () => shown,
    logger: silentLogger(),
  })
  t.after(() => node.stop())
  return node
}

const memberAt = (t: TestContext, relay: Relay, ...roots: KeyPair[]): Promise<MeshNode> =>
  nodeAt(t, [relay], (key) => roots.map((root) => credentialOf(root, key)))

const hasSlot = (...nodes: MeshNode[]): Promise<true> =>
  eventually(10_000, 'all hold a slot', () => (nodes.every((node) => node.relays()[0].reserved) ? true : undefined))
const isRefused = (node: MeshNode, why: RegExp): Promise<true> =>
  eventually(10_000, `refused: ${why}`, () => {
    const [{ reserved, problem }] = node.relays()
    assert.ok(!reserved, 'it has a slot')
    return problem !== undefined && why.test(problem) ? true : undefined
  })

const relayed = (node: MeshNode) => node.libp2p.getMultiaddrs().filter((address) => isRelayed(address))

it(
  'a relay whose port strangers hold by hundreds of sockets gives members their slots',
  { timeout: 300_000 },
  async (t) => {
    const root = newKeyPair()
    const relay = await relayFor(t, [root])
    const from = Array.from({ length: 50 }, (_, index) => `127.0.0.${index + 1}`)
    const strangers = flood({
      port: Number(/\/tcp\/(\d+)/.exec(relay.addresses[0])?.[1]),
      sockets: 300,
      from,
      againMs: 100,
      isPatient: true,
      apartMs: 2,
    })
    t.after(() => strangers.stop())
    await eventually(20_000, 'they are cut and come again', () => (strangers.opened > 400 ? true : undefined))
    await eventually(30_000, 'the member has its slot', async () => hasSlot(await memberAt(t, relay, root)))
  },
)

for (const [name, args] of [
  ['everyone', () => []],
  ['one pool', (poolId: string) => ['--pool', poolId]],
] as const) {
  it(
    `relay for ${name}: members that listen nowhere reserve a slot, pass the gate and sum over the circuit`,
    { timeout: 300_000 },
    async (t) => {
      const root = newKeyPair()
      const { info } = await startReady(t, {
        name: 'relay',
        program: 'relay',
        args: ['--json', '--host', '127.0.0.1', '--port', '0', ...args(idOf(root))],
        home: join(temporaryFolder(t), 'relay'),
      })
      const [relay] = info.addresses as string[]
      const pool = await createTestPool(2, { listen: [], relays: [relay], root })
      t.after(() => pool.stop())
      await hasSlot(...pool.nodes.map(({ node }) => node))
      for (const { node } of pool.nodes)
        assert.ok(
          node.addresses().every((address) => isRelayed(address)),
          node.addresses().join(),
        )
      const channels = await pool.connect(pool.ring([0, 1]), [0, 1])
      t.after(() => Promise.all(channels.map((channel) => channel.close())))
      await checkAllReduce(
        channels.map((channel) => createRingCollective(channel)),
        200_000,
      )
    },
  )
}

describe('relay for some pools', () => {
  it('mesh status tells what its owner is to run', { timeout: 300_000 }, async (t) => {
    const relay = await relayFor(t, [newKeyPair()])
    const home = join(temporaryFolder(t), 'device')
    await mesh(['init', '--network-id', 'home', '--name', 'Outside'], { home })
    const { pool_id: poolId } = JSON.parse(await mesh(['pool-create', '--name', 'other', '--json'], { home })) as {
      pool_id: string
    }
    await startReady(t, {
      name: 'agent',
      program: 'mesh',
      args: [
        'start',
        '--json',
        '--relay',
        relay.addresses[0],
        '--listen',
        '/ip4/127.0.0.1/tcp/0',
        '--discovery',
        'none',
      ],
      home,
    })
    const text = await eventually(
      15_000,
      'the refusal is shown',
      async () => /^relay .*no slot: .*$/m.exec(await mesh(['status'], { home }))?.[0],
    )
    assert.match(text, new RegExp(`does not serve pool ${poolId}: ask its owner to run: mesh relay --pool ${poolId}`))
  })

  it(
    'refuses strangers, other pools, and certificates that are expired, stolen or forged, and says why',
    { timeout: 300_000 },
    async (t) => {
      const [served, other] = [newKeyPair(), newKeyPair()]
      const relay = await relayFor(t, [served])
      const victim = newKeyPair()
      const cases: readonly [name: string, shown: (key: KeyPair) => readonly Credential[], why: RegExp][] = [
        ['a device in no pool', () => [], /^this device is in no pool: mesh pool-create/],
        [
          'a member of another pool',
          (key) => [credentialOf(other, key)],
          new RegExp(
            `^relay /ip4/127\\.0\\.0\\.1/.* does not serve pool ${idOf(other)}: ask its owner to run: mesh relay --pool ${idOf(other)}$`,
          ),
        ],
        [
          'an expired certificate',
          (key) => [
            credentialOf(served, key, {
              certificate: issueCertificate(
                served,
                { deviceId: deviceIdOf(key), role: 'member' },
                Date.now() - 10_000,
                5000,
              ),
            }),
          ],
          /^the membership certificate expired/,
        ],
        ['a stolen certificate', () => [credentialOf(served, victim)], /it belongs to another device/],
        [
          'a certificate of another pool under the served id',
          (key) => [credentialOf(other, key, { poolId: idOf(served), rootPublicKey: toHex(served.publicKey) })],
          /the signature is not of the root key/,
        ],
        [
          'another root key under the served id',
          (key) => [credentialOf(other, key, { poolId: idOf(served) })],
          /does not belong to that root public key/,
        ],
      ]
      for (const [name, shown, why] of cases)
        await t.test(name, async (sub) => void (await isRefused(await nodeAt(sub, [relay], shown), why)))
      await hasSlot(await memberAt(t, relay, other, served)) // one served pool of two is enough
    },
  )

  it(
    'connects members of one pool, also by a dialler that never named the relay; never those of different pools',
    { timeout: 300_000 },
    async (t) => {
      const [first, second] = [newKeyPair(), newKeyPair()]
      const relay = await relayFor(t, [first, second])
      const [one, two, both] = [
        await memberAt(t, relay, first),
        await memberAt(t, relay, second),
        await memberAt(t, relay, first, second),
      ]
      await hasSlot(one, two, both)
      const dial = async (from: MeshNode, to: MeshNode): Promise<string> => {
        const connection = await from.libp2p.dial(relayed(to), { signal: AbortSignal.timeout(8000) })
        return connection.remoteAddr.toString()
      }
      const passingBy = await nodeAt(t, [], (key) => [credentialOf(first, key)])
      for (const [from, to] of [
        [both, one],
        [both, two],
        [passingBy, one],
        [passingBy, both],
      ])
        assert.match(await dial(from, to), /p2p-circuit/)
      const stranger = await nodeAt(t, [], () => [])
      for (const [from, to] of [
        [one, two],
        [two, one],
        [passingBy, two],
        [stranger, one],
      ])
        await assert.rejects(dial(from, to))
    },
  )

  it('reads nothing of who proves nothing, and closes the connection', { timeout: 300_000 }, async (t) => {
    const relay = await relayFor(t, [newKeyPair()])
    const stranger = await nodeAt(t, [], () => [])
    const connection = await stranger.libp2p.dial(multiaddr(relay.addresses[0]))
    const closed = new Promise((resolve) => connection.addEventListener('close', resolve))
    const huge = await connection.newStream(protocols.relayProof)
    huge.send(Uint8Array.of(0xff, 0xff, 0xff, 0x7f)) // two gigabytes are announced
    const refusal = await new Promise<string>((resolve) =>
      huge.addEventListener('message', ({ data }) => resolve(Buffer.from(data.subarray()).toString('latin1'))),
    )
    assert.match(refusal, /frameTooLarge/)
    const opened = performance.now()
    await connection.newStream('/libp2p/circuit/relay/0.2.0/hop')
    await closed
    assert.ok(performance.now() - opened < limits.gateMs + 60_000)
  })

  it('a slot ends with the certificate, and goes on with a renewed one', { timeout: 300_000 }, async (t) => {
    const root = newKeyPair()
    const relay = await relayFor(t, [root])
    const short = await nodeAt(t, [relay], (key) => [credentialOf(root, key, {}, 8000)])
    const key = newKeyPair()
    let shown = [credentialOf(root, key, {}, 14_000)]
    const renewed = await createNode({
      key,
      listen: [],
      announce: [],
      relays: [relay.addresses[0]],
      credentials: () => shown,
      logger: silentLogger(),
    })
    t.after(() => renewed.stop())
    await hasSlot(short, renewed)
    shown = [credentialOf(root, key)]
    const over = Date.now() + 15_000 // that of the other one, were it not renewed
    await eventually(10_000, 'the slot is gone', () => (short.relays()[0].reserved ? undefined : true))
    await isRefused(short, /^the membership certificate expired/)
    await new Promise((resolve) => setTimeout(resolve, over - Date.now()))
    assert.ok(renewed.relays()[0].reserved)
    assert.equal(renewed.libp2p.getConnections().length, 1)
  })

  it(
    'a removed member loses its slot as soon as another one brings the list, also after a restart',
    { timeout: 300_000 },
    async (t) => {
      const root = newKeyPair()
      const [relayKey, lists] = [newKeyPair(), join(temporaryFolder(t), 'lists')]
      const relay = await relayFor(t, [root], { key: relayKey, lists })
      const lost = newKeyPair()
      const removed = await nodeAt(t, [relay], (key) => [credentialOf(root, key)], lost)
      await hasSlot(removed)
      const text = signRevocations(root, { after: 0, removed: [deviceIdOf(lost)] }, Date.now())
      const list = readRevocations(text, root.publicKey, Date.now())
      const informed = await nodeAt(t, [relay], (key) => [credentialOf(root, key, { list })])
      await hasSlot(informed)
      await eventually(10_000, 'the slot is gone', () => (removed.relays()[0].reserved ? undefined : true))
      await isRefused(removed, /was removed from pool/)
      assert.ok(informed.relays()[0].reserved)
      await relay.stop()
      const again = await relayFor(t, [root], { key: relayKey, lists })
      await isRefused(await nodeAt(t, [again], (key) => [credentialOf(root, key)], lost), /was removed from pool/)
      await hasSlot(await memberAt(t, again, root))
    },
  )
})
