/** The membership gate over real sockets: who gets in, who does not, and what honest members notice of it. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { Connection } from '@libp2p/interface'
import { MeshError } from '../../shared/errors.ts'
import { deviceIdOf } from '../../shared/identity/device-key.ts'
import { type KeyPair, newKeyPair } from '../../shared/identity/keys.ts'
import { certificateLifetimeMs, issueCertificate, poolIdOf } from '../../shared/identity/pool-certificate.ts'
import { silentLogger } from '../../shared/log.ts'
import { limits } from '../../shared/limits.ts'
import { protocols } from '../../shared/wire/protocols.ts'
import { eventually } from '../../test/support/processes.ts'
import { readMessage, sendMessage } from '../../shared/wire/message-stream.ts'
import { createNode } from './node.ts'
import { createTestNode, createTestPool, type TestPool } from './test/pool-of-nodes.ts'

type MakeCertificate = (index: number, key: KeyPair, root: KeyPair) => string | undefined

const good: MakeCertificate = (_, key, root) =>
  issueCertificate(root, { deviceId: deviceIdOf(key), role: 'member' }, Date.now())

/** Three nodes; node 1 shows what `bad` makes, 0 and 2 are honest. */
const poolWith = async (t: TestContext, bad: MakeCertificate): Promise<TestPool> => {
  const pool = await createTestPool(3, {
    certificate: (index, key, root) => (index === 1 ? bad : good)(index, key, root),
  })
  t.after(() => pool.stop())
  return pool
}

const enter = async ({ nodes, poolId }: TestPool, from: number, to: number): Promise<void> => {
  const connection = await nodes[from].node.libp2p.dial(nodes[to].node.libp2p.getMultiaddrs())
  await nodes[from].gate.enter(connection, poolId, AbortSignal.timeout(60_000))
}

test('gate: members of one pool enter, both ways on one connection', async (t) => {
  const pool = await poolWith(t, good)
  await enter(pool, 0, 1)
  const [back] = pool.nodes[1].node.libp2p.getConnections(pool.nodes[0].node.libp2p.peerId)
  assert.ok(pool.nodes[1].gate.isAdmitted(back, pool.poolId))
  assert.ok(!pool.nodes[1].gate.isAdmitted(back, 'f'.repeat(64)))
})

const refusals: Readonly<Record<string, { readonly make: MakeCertificate; readonly problem: RegExp }>> = {
  'an expired certificate': {
    make: (_, key, root) =>
      issueCertificate(root, { deviceId: deviceIdOf(key), role: 'member' }, Date.now() - 2 * certificateLifetimeMs),
    problem: /expired/,
  },
  'a certificate of another pool': {
    make: (_, key) => issueCertificate(newKeyPair(), { deviceId: deviceIdOf(key), role: 'member' }, Date.now()),
    problem: /not of the root key/,
  },
  'the certificate of another device': {
    make: (_, __, root) => issueCertificate(root, { deviceId: deviceIdOf(newKeyPair()), role: 'member' }, Date.now()),
    problem: /another device/,
  },
  'garbage instead of a certificate': { make: () => 'AAAA', problem: /certificate/ },
}

for (const [name, { make, problem }] of Object.entries(refusals)) {
  test(`gate: ${name} is refused with the reason, and honest members go on`, async (t) => {
    const pool = await poolWith(t, make)
    await assert.rejects(
      enter(pool, 1, 0),
      (error: unknown) => error instanceof MeshError && error.code === 'gateRefused' && problem.test(error.message),
    )
    // and the other way: the honest side dials and checks what it is shown
    await assert.rejects(
      enter(pool, 2, 1),
      (error: unknown) =>
        error instanceof MeshError && ['certificateInvalid', 'certificateExpired', 'gateRefused'].includes(error.code),
    )
    await enter(pool, 2, 0)
  })
}

test(
  'gate: an announced gigabyte, garbage CBOR and half a message cost the sender its connection only',
  { timeout: 300_000 },
  async (t) => {
    const pool = await poolWith(t, good)
    const attempts: ((send: (bytes: Uint8Array) => void) => void)[] = [
      (send) => send(Uint8Array.from([0, 0, 0, 64, 1, 2, 3])),
      (send) => send(Uint8Array.from([5, 0, 0, 0, 255, 255, 255, 255, 255])),
    ]
    for (const attempt of attempts) {
      const connection = await pool.nodes[1].node.libp2p.dial(pool.nodes[0].node.libp2p.getMultiaddrs())
      const stream = await connection.newStream(protocols.gate)
      attempt((bytes) => stream.send(bytes))
      const answer = await readMessage(stream, limits.gateBytes, AbortSignal.timeout(limits.gateMs + 3000)).catch(
        () => undefined,
      )
      if (answer) assert.match(Buffer.from(answer).toString('latin1'), /frame(TooLarge|Invalid)/)
      await new Promise<void>((resolve) =>
        connection.status === 'open' ? connection.addEventListener('close', () => resolve()) : resolve(),
      )
    }
    await enter(pool, 2, 0)
  },
)

test('gate: a ring stream on a connection that did not pass is cut off', async (t) => {
  const pool = await poolWith(t, good)
  const connection = await pool.nodes[1].node.libp2p.dial(pool.nodes[0].node.libp2p.getMultiaddrs())
  const stream = await connection.newStream(protocols.ring)
  const answer = async (): Promise<Uint8Array> => {
    sendMessage(stream, Uint8Array.from([1, 2, 3]))
    return readMessage(stream, limits.gateBytes, AbortSignal.timeout(60_000))
  }
  await assert.rejects(answer(), (error: Error) => error.name !== 'TimeoutError')
  assert.notEqual(stream.status, 'open')
})

test('gate: a member of one pool that another pool refuses keeps its connection', async (t) => {
  const roots = [newKeyPair(), newKeyPair()]
  const poolIds = roots.map(({ publicKey }) => poolIdOf(publicKey))
  const keys = [newKeyPair(), newKeyPair()]
  const nodes = await Promise.all(
    keys.map((key, index) =>
      createTestNode(key, {
        rootKeyOf: (id) => roots.find((_, pool) => poolIds[pool] === id)?.publicKey,
        // node 1 has an expired certificate of the second pool
        certificateOf: (id) =>
          issueCertificate(
            roots[id === poolIds[0] ? 0 : 1],
            { deviceId: deviceIdOf(key), role: 'member' },
            id === poolIds[1] && index === 1 ? 0 : Date.now(),
          ),
      }),
    ),
  )
  t.after(() => Promise.all(nodes.map(({ node }) => node.stop())))
  const connection = await nodes[1].node.libp2p.dial(nodes[0].node.libp2p.getMultiaddrs())
  await nodes[1].gate.enter(connection, poolIds[0], AbortSignal.timeout(60_000))
  await assert.rejects(nodes[1].gate.enter(connection, poolIds[1], AbortSignal.timeout(60_000)), {
    code: 'gateRefused',
  })
  await assert.rejects(nodes[1].gate.enter(connection, poolIds[1], AbortSignal.timeout(60_000)), {
    code: 'gateRefused',
  })
  assert.equal(connection.status, 'open')
  assert.ok(nodes[1].gate.isAdmitted(connection, poolIds[0]))
  assert.ok(!nodes[1].gate.isAdmitted(connection, poolIds[1]))
})

test('gate: a further connection to a member passes by itself', async (t) => {
  const pool = await poolWith(t, good)
  const [a, b] = [pool.nodes[0], pool.nodes[1]]
  await enter(pool, 0, 1)
  const opened = new Promise<Connection>((resolve) =>
    b.node.libp2p.addEventListener('connection:open', ({ detail }) => resolve(detail), { once: true }),
  )
  await a.node.libp2p.dial(b.node.libp2p.getMultiaddrs(), { force: true })
  const inbound = await opened
  await eventually(3000, 'the second connection is admitted', () =>
    b.gate.isAdmitted(inbound, pool.poolId) ? true : undefined,
  )
})

test('gate: a peer that is no agent is told apart from one that refuses', async (t) => {
  const pool = await poolWith(t, good)
  const bare = await createNode({
    key: newKeyPair(),
    listen: ['/ip4/127.0.0.1/tcp/0'],
    announce: [],
    relays: [],
    logger: silentLogger(),
  })
  t.after(() => bare.stop())
  const connection = await pool.nodes[0].node.libp2p.dial(bare.libp2p.getMultiaddrs())
  await assert.rejects(pool.nodes[0].gate.enter(connection, pool.poolId, AbortSignal.timeout(60_000)), {
    code: 'protocolVersion',
  })
})

test('gate: a silent stranger is disconnected in time', { timeout: 300_000 }, async (t) => {
  const pool = await poolWith(t, good)
  const started = performance.now()
  const connection = await pool.nodes[1].node.libp2p.dial(pool.nodes[0].node.libp2p.getMultiaddrs())
  await new Promise<void>((resolve) => connection.addEventListener('close', () => resolve()))
  const took = performance.now() - started
  assert.ok(took > limits.gateMs - 500 && took < limits.gateMs + 60_000, `${took} ms`) // a busy machine adds to it
})
