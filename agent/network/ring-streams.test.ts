/** Links of a ring under faults, over real sockets. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import { encodeCbor } from '../../shared/wire/envelope.ts'
import { dtypes, encodeFrameHeader, frameKinds, phases } from '../../shared/wire/frame.ts'
import { limits } from '../../shared/limits.ts'
import { protocols } from '../../shared/wire/protocols.ts'
import type { Channel } from '../channel/channel.ts'
import { checkAllReduce } from '../collective/test/contract.ts'
import { createRingCollective } from '../collective/ring.ts'
import { readMessage, sendMessage } from '../../shared/wire/message-stream.ts'
import { eventually } from '../../test/support/processes.ts'
import { createTestPool, type TestPool, type TestPoolOptions } from './test/pool-of-nodes.ts'

const tag = { job: 1, step: 0, operation: 0, phase: phases.exchange, chunk: 0 }
const f32 = { dtype: dtypes.f32, bytes: new Uint8Array(16) }

const setUp = async (
  t: TestContext,
  count: number,
  options: TestPoolOptions = {},
): Promise<{ pool: TestPool; channels: Channel[] }> => {
  const pool = await createTestPool(count, options)
  t.after(() => pool.stop())
  const members = Array.from({ length: count }, (_, index) => index)
  const channels = await pool.connect(pool.ring(members), members)
  t.after(() => Promise.all(channels.map((channel) => channel.close())))
  return { pool, channels }
}

/** Rank 1's own stream to rank 0, opened by hand, so that it can send what no honest rank would. */
const rogueStream = async (
  pool: TestPool,
  epoch: number,
): Promise<{ send(bytes: Uint8Array): void; channel: Channel }> => {
  const ring = pool.ring([1, 0], epoch) // node 1 dials as rank 0
  const opening = pool.nodes[0].streams.open({ ring, rank: 1, signal: new AbortController().signal })
  const connection = await pool.nodes[1].node.libp2p.dial(pool.nodes[0].node.libp2p.getMultiaddrs())
  await pool.nodes[1].gate.enter(connection, pool.poolId, AbortSignal.timeout(60_000))
  const stream = await connection.newStream(protocols.ring)
  sendMessage(stream, encodeCbor({ poolId: pool.poolId, ringId: ring.ringId, epoch, rank: 0, worldSize: 2 }))
  await readMessage(stream, limits.gateBytes, AbortSignal.timeout(60_000))
  return { send: (bytes) => void stream.send(bytes), channel: await opening }
}

const header = (change: Partial<Parameters<typeof encodeFrameHeader>[0]>): Uint8Array =>
  encodeFrameHeader({ ...tag, kind: frameKinds.tensor, dtype: dtypes.f32, epoch: 50, payloadBytes: 16, ...change })

test('links: a frame that comes before it is asked for is kept, a duplicate is dropped', async (t) => {
  const {
    channels: [a, b],
  } = await setUp(t, 2)
  await a.send(1, tag, f32)
  await a.send(1, tag, f32)
  await a.send(1, { ...tag, chunk: 1 }, f32)
  assert.equal((await b.receive(0, { ...tag, chunk: 1 })).bytes.length, 16)
  assert.equal((await b.receive(0, tag)).bytes.length, 16)
})

test('links: a late frame of a forgotten job is dropped', async (t) => {
  const {
    channels: [a, b],
  } = await setUp(t, 2, { stepTimeoutMs: 10_000 })
  b.forgetJob(1)
  await a.send(1, tag, f32)
  await a.send(1, { ...tag, job: 2 }, f32)
  await b.receive(0, { ...tag, job: 2 })
  await assert.rejects(b.receive(0, tag), { code: 'jobCancelled' })
})

test('links: control messages arrive in order, also those from before somebody listened', async (t) => {
  const {
    channels: [a, b],
  } = await setUp(t, 2)
  await a.sendControl(1, { type: 'job-end', job: 1 })
  await a.sendControl(1, { type: 'job-end', job: 2 })
  await a.send(1, tag, f32)
  await b.receive(0, tag)
  const seen: number[] = []
  b.onControl({ message: (_, message) => seen.push(message.job), lost: () => {} })
  await a.sendControl(1, { type: 'job-end', job: 3 })
  await a.send(1, { ...tag, chunk: 1 }, f32)
  await b.receive(0, { ...tag, chunk: 1 })
  assert.deepEqual(seen, [1, 2, 3])
})

test('links: a rank whose node goes away fails what waits for it, long before the step deadline', async (t) => {
  const stepTimeoutMs = 120_000
  const { pool, channels } = await setUp(t, 3, { stepTimeoutMs })
  const lost: number[] = []
  for (const index of [0, 2]) channels[index].onControl({ message: () => {}, lost: (from) => lost.push(from) })
  const started = performance.now()
  const waiting = [channels[0].receive(1, tag), channels[2].receive(1, tag)]
  const results = Promise.allSettled(waiting)
  await pool.nodes[1].node.stop()
  for (const result of await results) {
    assert.ok(result.status === 'rejected' && result.reason instanceof MeshError)
    assert.equal(result.reason.code, 'peerLost')
    assert.equal(result.reason.fields.peer, 'node 1')
  }
  assert.ok(performance.now() - started < stepTimeoutMs / 2)
  assert.deepEqual(lost, [1, 1])
  await assert.rejects(channels[0].send(1, tag, f32), { code: 'peerLost' })
})

test('links: a stalled rank is named after the step deadline, the link stays', async (t) => {
  const {
    channels: [a, b],
  } = await setUp(t, 2, { stepTimeoutMs: 1000 })
  await assert.rejects(a.receive(1, tag), {
    code: 'collectiveTimeout',
    fields: { rank: 1, peer: 'node 1', seconds: 1 },
  })
  await b.send(0, { ...tag, chunk: 9 }, f32)
  await a.receive(1, { ...tag, chunk: 9 })
})

const damages: Readonly<Record<string, { readonly bytes: () => Uint8Array; readonly code: string }>> = {
  'a corrupt header': { bytes: () => header({}).fill(7, 0, 4), code: 'peerInvalid' },
  'a gigabyte announced': {
    bytes: () => {
      const bytes = header({})
      new DataView(bytes.buffer).setUint32(8, 2 ** 30, true)
      return bytes
    },
    code: 'peerInvalid',
  },
  'a frame of another epoch': {
    bytes: () => Buffer.concat([header({ epoch: 49 }), new Uint8Array(16)]),
    code: 'epochStale',
  },
  'garbage as control message': {
    bytes: () => Buffer.concat([header({ kind: frameKinds.control, payloadBytes: 3 }), Uint8Array.from([255, 1, 2])]),
    code: 'peerInvalid',
  },
}

for (const [name, { bytes, code }] of Object.entries(damages)) {
  test(`links: ${name} ends that stream with ${code}, and other rings go on`, async (t) => {
    const { pool, channels } = await setUp(t, 2)
    const rogue = await rogueStream(pool, 50)
    t.after(() => rogue.channel.close())
    const waiting = assert.rejects(rogue.channel.receive(0, tag), { code })
    rogue.send(bytes())
    await waiting
    await checkAllReduce(
      channels.map((channel) => createRingCollective(channel)),
      100,
    )
  })
}

test('links: an epoch that nobody else knows gives up with the name of the device', { timeout: 300_000 }, async (t) => {
  const { pool } = await setUp(t, 2)
  const signal = AbortSignal.timeout(700)
  await assert.rejects(
    pool.nodes[0].streams.open({ ring: pool.ring([0, 1], 77), rank: 0, signal }),
    (error: unknown) => error === signal.reason || (error instanceof MeshError && error.code === 'peerUnreachable'),
  )
})

test('links: ranks may come in any order and late', { timeout: 300_000 }, async (t) => {
  const { pool } = await setUp(t, 3)
  const ring = pool.ring([0, 1, 2], 90)
  const signal = new AbortController().signal
  const first = pool.nodes[0].streams.open({ ring, rank: 0, signal })
  const third = pool.nodes[2].streams.open({ ring, rank: 2, signal })
  await new Promise((resolve) => setTimeout(resolve, 300)) // what "late" means here
  const channels = await Promise.all([first, pool.nodes[1].streams.open({ ring, rank: 1, signal }), third])
  t.after(() => Promise.all(channels.map((channel) => channel.close())))
  await checkAllReduce(
    channels.map((channel) => createRingCollective(channel)),
    1000,
  )
})

test('links: while they open it is told which lack; and members are reached without an epoch', async (t) => {
  const pool = await createTestPool(3, { attemptMs: 2000 })
  t.after(() => pool.stop())
  const ring = pool.ring([0, 1, 2])
  const { signal } = new AbortController()
  await pool.nodes[0].streams.reach({ ring, rank: 0, signal })
  const lacks: (readonly number[])[] = []
  const first = pool.nodes[0].streams.open({ ring, rank: 0, signal, onMissing: (ranks) => lacks.push(ranks) })
  const second = pool.nodes[1].streams.open({ ring, rank: 1, signal })
  await eventually(5000, 'one link is there', () => lacks.length === 1 || undefined)
  assert.deepEqual(lacks, [[2]])
  const third = pool.nodes[2].streams.open({ ring, rank: 2, signal })
  for (const channel of await Promise.all([first, second, third])) t.after(() => channel.close())
  assert.deepEqual(lacks, [[2], []])
  await pool.nodes[2].node.stop()
  await assert.rejects(
    pool.nodes[0].streams.reach({ ring, rank: 0, signal }),
    (error: MeshError) => error.code === 'peerUnreachable' && error.fields.peer === 'node 2' && error.fields.rank === 2,
  )
})
