/** Agents of other versions over real sockets: stand-ins that speak what was spoken before, or what may come. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { Connection } from '@libp2p/interface'
import { MeshError } from '../../shared/errors.ts'
import { deviceIdOf } from '../../shared/identity/device-key.ts'
import { newKeyPair } from '../../shared/identity/keys.ts'
import { issueCertificate, poolIdOf } from '../../shared/identity/pool-certificate.ts'
import { shortId } from '../../shared/ids.ts'
import { silentLogger } from '../../shared/log.ts'
import { decodeCbor, encodeCbor, GateAnswer, RingAnswer } from '../../shared/wire/envelope.ts'
import { limits } from '../../shared/limits.ts'
import { readMessage, sendMessage } from '../../shared/wire/message-stream.ts'
import { otherVersion } from '../../shared/wire/other-version.ts'
import { peerProtocols, protocolId, protocols } from '../../shared/wire/protocols.ts'
import { Gate } from './gate.ts'
import { createNode, type MeshNode } from './node.ts'
import { createTestPool } from './test/pool-of-nodes.ts'

const root = newKeyPair()
const poolId = poolIdOf(root.publicKey)
const local = ['/ip4/127.0.0.1/tcp/0']

interface Agent {
  readonly node: MeshNode
  readonly gate: Gate
  readonly name: string
  /** What it was told of other versions. */
  readonly met: MeshError[]
}

const startAgent = async (t: TestContext): Promise<Agent> => {
  const key = newKeyPair()
  const node = await createNode({ key, listen: local, announce: [], relays: [], logger: silentLogger() })
  const certificate = issueCertificate(root, { deviceId: deviceIdOf(key), role: 'member' }, Date.now())
  const met: MeshError[] = []
  const gate = new Gate(
    node,
    { rootKeyOf: () => root.publicKey, certificateOf: () => certificate },
    { now: Date.now, logger: silentLogger(), onOtherVersion: (_, error) => met.push(error) },
  )
  t.after(async () => {
    gate.stop()
    await node.stop()
  })
  return { node, gate, met, name: `device ${shortId(deviceIdOf(key))}` }
}

/** A node of libp2p that speaks nothing of ours yet. */
const startStandIn = async (t: TestContext): Promise<{ readonly node: MeshNode; readonly name: string }> => {
  const key = newKeyPair()
  const node = await createNode({ key, listen: local, announce: [], relays: [], logger: silentLogger() })
  t.after(() => node.stop())
  return { node, name: `device ${shortId(deviceIdOf(key))}` }
}

const dial = (from: MeshNode, to: MeshNode): Promise<Connection> => from.libp2p.dial(to.libp2p.getMultiaddrs())

test('versions: an agent of before that dials is told in its own form; both sides name the same', async (t) => {
  const [agent, older] = [await startAgent(t), await startStandIn(t)]
  const stream = await (await dial(older.node, agent.node)).newStream(protocolId('gate', '1.0.0'))
  sendMessage(stream, encodeCbor({ poolId, certificate: 'of its time' }))
  const answer = decodeCbor(GateAnswer, await readMessage(stream, limits.gateBytes, AbortSignal.timeout(60_000)))
  assert.equal(answer.ok, false)
  assert.equal(answer.error?.code, 'protocolVersion')
  assert.equal(answer.error?.message, `${older.name} speaks version 1.0.0 of the gate, ${agent.name} version 2.0.0`)
  assert.match(String(answer.error?.hint), new RegExp(`^update Mesh on ${older.name}`))
  assert.deepEqual(
    agent.met.map(({ message }) => message),
    [answer.error?.message],
  )
})

test('versions: an agent of before that is dialled is known by what it speaks', async (t) => {
  const [agent, older] = [await startAgent(t), await startStandIn(t)]
  await older.node.libp2p.handle(protocolId('gate', '1.0.0'), (stream) => void stream.close())
  await assert.rejects(agent.gate.enter(await dial(agent.node, older.node), poolId, AbortSignal.timeout(60_000)), {
    code: 'protocolVersion',
    message: `${older.name} speaks version 1.0.0 of the gate, this device version 2.0.0`,
    hint: new RegExp(`^update Mesh on ${older.name}`),
  })
  assert.equal(agent.met.length, 1)
})

test('versions: a newer agent says so to this one, which says that it is to be updated itself', async (t) => {
  const [agent, newer] = [await startAgent(t), await startStandIn(t)]
  const told = otherVersion(
    { ...peerProtocols.gate, version: '3.0.0' },
    { name: newer.name, version: '3.0.0' },
    { name: agent.name, version: '2.0.0' },
  )
  await newer.node.libp2p.handle(protocols.gate, async (stream) => {
    sendMessage(stream, encodeCbor({ ok: false, error: told.toReport() }))
    await stream.close()
  })
  await assert.rejects(agent.gate.enter(await dial(agent.node, newer.node), poolId, AbortSignal.timeout(60_000)), {
    code: 'protocolVersion',
    message: `${agent.name} speaks version 2.0.0 of the gate, ${newer.name} version 3.0.0`,
    hint: new RegExp(`^update Mesh on ${agent.name}`),
  })
  assert.equal(agent.met.length, 1)
})

test('versions: a member with rings of before fails the epoch at once, and is told; a stranger is told nothing of rings', async (t) => {
  const pool = await createTestPool(2, { connectTimeoutMs: 60_000 })
  t.after(() => pool.stop())
  const [leader, follower] = pool.nodes
  const ring = pool.ring([0, 1])
  await follower.node.libp2p.unhandle(protocols.ring)
  const began = performance.now()
  await assert.rejects(leader.streams.open({ ring, rank: 0, signal: AbortSignal.timeout(30_000) }), {
    code: 'protocolVersion',
    message: /speaks version 1\.0\.0 of rings/,
  })
  assert.ok(performance.now() - began < 20_000, 'it does not go on trying')
  // as the follower of before dials: on a connection that passed the gate
  const [connection] = leader.node.libp2p.getConnections(follower.node.libp2p.peerId)
  assert.ok(connection)
  const [back] = follower.node.libp2p.getConnections(leader.node.libp2p.peerId)
  const stream = await back.newStream(protocolId('ring', '1.0.0'))
  const answer = decodeCbor(RingAnswer, await readMessage(stream, limits.gateBytes, AbortSignal.timeout(60_000)))
  assert.ok('error' in answer)
  assert.match(answer.error.message, /speaks version 1\.0\.0 of rings, device \w{8} version 2\.0\.0/)
  const stranger = await startStandIn(t)
  const closed = await (await dial(stranger.node, leader.node)).newStream(protocolId('ring', '1.0.0'))
  await assert.rejects(readMessage(closed, limits.gateBytes, AbortSignal.timeout(5000)))
})
