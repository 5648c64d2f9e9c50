/** Memory locks in the control plane: recorded once, and never more placed on a device than it locked. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { signCommitment } from '../../shared/identity/lock-statement.ts'
import { rankBytes } from '../../shared/plan/shard-memory.ts'
import { type Commitment, usableBytes } from '../../shared/schema/lock.ts'
import type { RingMember } from '../../shared/schema/ring.ts'
import { createPool, eventually, FakeAgent, manifest, startPlane, submission, type TestDevice } from './plane.ts'
import { activeRing, epochWith, join, view } from './steps.ts'

/** 8 billion parameters at 8 bits: about 9 GB. */
const large = {
  ...manifest,
  modelId: 'large',
  shape: { layers: 32, hidden: 4096, heads: 32, kvHeads: 8, headDim: 128, ffn: 14336, vocab: 128256, context: 8192 },
}
const GB = 1e9
const statement = (
  device: TestDevice,
  sequence: number,
  memoryBytes: number,
  phase: Commitment['phase'] = 'locked',
): string => signCommitment(device.key, { sequence, phase, memoryBytes, cooldownMs: 86400e3, at: 1_800_000_000_000 })
const record = (device: TestDevice, url: string, text: string): Promise<{ statement: string | null }> =>
  device.client(url).call('recordLock', { body: { statement: text } })

test('locks: the newest statement holds, repeated and older ones change nothing, also over a restart', async (t) => {
  const plane = await startPlane(t)
  const pool = await createPool(plane.url)
  const { admin } = pool
  assert.deepEqual(await admin.client(plane.url).call('getLock', {}), { statement: null })
  const [first, second] = [statement(admin, 1, 7 * GB), statement(admin, 2, 8 * GB)]
  assert.deepEqual(await record(admin, plane.url, first), { statement: first })
  assert.deepEqual(await record(admin, plane.url, second), { statement: second })
  assert.deepEqual(await record(admin, plane.url, first), { statement: second })
  assert.deepEqual(await record(admin, plane.url, statement(admin, 2, 1 * GB)), { statement: second })
  await plane.stop()
  const { url } = await startPlane(t, plane.folder)
  assert.deepEqual(await admin.client(url).call('getLock', {}), { statement: second })
  const [peer] = await admin.client(url).call('listPeers', { params: { poolId: pool.poolId } })
  assert.deepEqual(peer.lock, { phase: 'locked', memoryBytes: 8 * GB, missingBytes: 0 })
})

test('locks: a statement of another device is refused', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  await assert.rejects(record(pool.admin, url, statement(await pool.member('Other'), 1, GB)), { code: 'lockInvalid' })
  assert.deepEqual(await pool.admin.client(url).call('getLock', {}), { statement: null })
})

test('locks: a model that does not fit is refused by name and number, and forms when more is locked', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  await record(pool.admin, url, statement(pool.admin, 1, 5 * GB))
  const agent = await FakeAgent.connect(t, pool.admin, url)
  const ring = await join(pool.admin, pool, url, { model: large })
  assert.equal(ring.status, 'waiting')
  assert.match(
    ring.reason,
    /large q8 does not fit: Admin lacks [45][.\d]* GB \(its part needs (9|10)[.\d]* GB, 4\.65 GB of its memory may be used\)/,
  )
  const submit = pool.admin
    .client(url)
    .call('submitJob', { params: { poolId: pool.poolId }, body: submission('big', { modelId: 'large' }) })
  await assert.rejects(submit, { code: 'ringTooLarge', hint: /lock more memory there.*add a device.*smaller --quant/ })
  assert.deepEqual(
    (await agent.unread()).filter(({ type }) => type === 'ring-epoch'),
    [],
  )
  await record(pool.admin, url, statement(pool.admin, 2, 16 * GB))
  const {
    ring: {
      members: [member],
    },
  } = await agent.next('ring-epoch')
  assert.ok(member.bytes !== undefined && member.bytes <= usableBytes(16 * GB))
})

test('locks: no device gets more than it locked; what a small one cannot hold goes to the others', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  const small = await pool.member('Small')
  await record(pool.admin, url, statement(pool.admin, 1, 12 * GB))
  await record(small, url, statement(small, 1, 2 * GB))
  const agents = [await FakeAgent.connect(t, pool.admin, url), await FakeAgent.connect(t, small, url)]
  await join(pool.admin, pool, url, { model: large, quant: 'q8', share: 1 })
  await join(small, pool, url, { model: large, quant: 'q8', share: 1 })
  let members: readonly RingMember[] = []
  while (members.length < 2) members = (await agents[0].next('ring-epoch')).ring.members
  for (const [member, locked] of [
    [members[0], 12 * GB],
    [members[1], 2 * GB],
  ] as const) {
    const needs = rankBytes(large.shape, 'q8', member.ranges, member.context ?? 0)
    assert.ok(needs <= usableBytes(locked) && member.bytes === needs, `${member.name} got ${needs} of ${locked}`)
  }
  assert.ok((members[1].bytes ?? 0) > 1 * GB)
})

test('locks: what one ring holds another cannot have', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  await record(pool.admin, url, statement(pool.admin, 1, 14 * GB))
  const agent = await FakeAgent.connect(t, pool.admin, url)
  await join(pool.admin, pool, url, { model: large })
  const { ring: first } = await agent.next('ring-epoch')
  const second = await join(pool.admin, pool, url, { model: { ...large, modelId: 'second', revision: 'b'.repeat(64) } })
  assert.match(second.reason, /second q8 does not fit: Admin lacks/)
  assert.ok((first.members[0].bytes ?? 0) > 8 * GB)
})

test('locks: a degraded device keeps what it has and gets nothing new', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  await record(pool.admin, url, statement(pool.admin, 1, 4 * GB))
  const {
    agents: [agent],
    ringId,
    epoch,
  } = await activeRing(t, pool, url, 1)
  const missing = (lockMissingBytes: number): void =>
    agent.send({ type: 'heartbeat', freeMemoryBytes: 0, lockMissingBytes })
  missing(3 * GB)
  await eventually(
    'the pool sees it',
    async () =>
      (await pool.admin.client(url).call('listPeers', { params: { poolId: pool.poolId } }))[0].lock?.missingBytes ===
      3 * GB,
  )
  assert.deepEqual([(await view(pool, url)).status, (await view(pool, url)).epoch], ['active', epoch])
  const other = await join(pool.admin, pool, url, {
    model: { ...manifest, modelId: 'other', revision: 'b'.repeat(64) },
  })
  assert.match(other.reason, /other q8 does not fit: Admin lacks/)
  assert.equal(other.members[0].state, 'failed')
  missing(0)
  const { ring } = await agent.next('ring-epoch')
  assert.notEqual(ring.ringId, ringId)
})

test('locks: a device that locks less after its cooldown is relieved, not trusted to hold on', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url)
  await record(pool.admin, url, statement(pool.admin, 1, 12 * GB))
  const agent = await FakeAgent.connect(t, pool.admin, url)
  await join(pool.admin, pool, url, { model: large })
  const {
    ring: { ringId, epoch },
  } = await agent.next('ring-epoch')
  agent.ready(ringId, epoch)
  await agent.next('ring-active')
  await record(pool.admin, url, statement(pool.admin, 2, 12 * GB, 'cooling'))
  assert.equal((await view(pool, url)).status, 'active')
  await record(pool.admin, url, statement(pool.admin, 3, 3 * GB))
  assert.equal((await agent.next('ring-left')).ringId, ringId)
  assert.match((await view(pool, url)).reason, /does not fit: Admin lacks/)
})

test('locks: without any lock a device is bounded by what its machine has', async (t) => {
  const { url } = await startPlane(t)
  const pool = await createPool(url) // 8 GB each
  const second = await pool.member('Second')
  const agents = [await FakeAgent.connect(t, pool.admin, url), await FakeAgent.connect(t, second, url)]
  assert.match((await join(pool.admin, pool, url, { model: large })).reason, /does not fit: Admin lacks/)
  await join(second, pool, url, { model: large })
  await epochWith(agents, 2)
})
