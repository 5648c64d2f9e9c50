import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import { dtypes, type FrameTag, phases } from '../../shared/wire/frame.ts'
import type { Channel, Payload } from '../channel/channel.ts'
import { checkCollective } from './test/contract.ts'
import { createMemoryChannels } from '../channel/test/memory-channel.ts'
import { createRingCollective } from './ring.ts'

for (const worldSize of [1, 2, 3, 5, 8]) {
  test(`ring of ${worldSize}: keeps the contract of collectives`, async () => {
    await checkCollective(createMemoryChannels(worldSize).map((channel) => createRingCollective(channel)))
  })
}

test('ring: a rank that dies in the middle fails all others with peerLost, long before the step deadline', async () => {
  const stepTimeoutMs = 120_000
  const channels = createMemoryChannels(3, stepTimeoutMs)
  const [first, , third] = channels.map((channel) => createRingCollective(channel))
  const id = { job: 1, step: 0, operation: 0 }
  const started = performance.now()
  const running = [first, third].map((collective) => collective.allReduce(new Float32Array(30), id))
  setImmediate(() => channels[1].kill())
  const [one, two] = await Promise.allSettled(running)
  for (const result of [one, two])
    assert.equal(result.status === 'rejected' && MeshError.from(result.reason).code, 'peerLost')
  assert.ok(performance.now() - started < stepTimeoutMs / 2)
})

test('ring: a silent rank is named when the step deadline passes', async () => {
  const [first] = createMemoryChannels(2, 50).map((channel) => createRingCollective(channel))
  await assert.rejects(first.allReduce(new Float32Array(4), { job: 1, step: 0, operation: 0 }), {
    code: 'collectiveTimeout',
    fields: { peer: 'rank 1', rank: 1, seconds: 0.05 },
  })
})

test('ring: a forgotten job stops waiting at once', async () => {
  const channels = createMemoryChannels(2)
  const running = createRingCollective(channels[0]).allReduce(new Float32Array(4), { job: 7, step: 0, operation: 0 })
  channels[0].forgetJob(7)
  await assert.rejects(running, { code: 'jobCancelled' })
})

/** Rank 0 of two: it gets what the test gives it, and the test sees what it sends. */
const channelByHand = (
  incoming: (tag: FrameTag) => Promise<Payload>,
  sent: (tag: FrameTag) => Promise<void>,
): Channel => {
  const [channel] = createMemoryChannels(2)
  return { ...channel, receive: (_, tag) => incoming(tag), send: (_, tag) => sent(tag) }
}

test("ring: after a failure nothing more is sent from the caller's memory, and a stuck send does not hold it up", async () => {
  const id = { job: 1, step: 0, operation: 0 }
  const sent: number[] = []
  const { promise: stuck, resolve: release } = Promise.withResolvers<void>()
  const channel = channelByHand(
    () => Promise.reject(new MeshError('peerLost', { peer: 'rank 1', rank: 1, problem: 'gone' })),
    (tag) => {
      sent.push(tag.chunk)
      return stuck
    },
  )
  await assert.rejects(createRingCollective(channel).allReduce(new Float32Array(1_000_000), id), { code: 'peerLost' })
  release()
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(sent, [0])
})

test('ring: a send that fails ends the operation with its error', async () => {
  const other = { dtype: dtypes.f32, bytes: new Uint8Array(8) }
  const channel = channelByHand(
    () => Promise.resolve(other),
    () => Promise.reject(new MeshError('collectiveTimeout', { rank: 1, peer: 'rank 1', seconds: 1 })),
  )
  await assert.rejects(
    createRingCollective(channel).allReduce(new Float32Array(4), { job: 1, step: 0, operation: 0 }),
    { code: 'collectiveTimeout' },
  )
})

test('ring: a piece goes on to the next rank before the rest of its segment is there', async () => {
  const sent: string[] = []
  const { promise: hold } = Promise.withResolvers<Payload>()
  const channel = channelByHand(
    (tag) =>
      tag.phase === phases.reduceScatter && tag.chunk === 0
        ? Promise.resolve({ dtype: dtypes.f32, bytes: new Uint8Array(4 * 65536) })
        : hold,
    async (tag) => {
      sent.push(`${tag.phase}/${tag.chunk}`)
    },
  )
  void createRingCollective(channel).allReduce(new Float32Array(4 * 65536), { job: 1, step: 0, operation: 0 })
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(sent, [`${phases.reduceScatter}/0`, `${phases.reduceScatter}/1`, `${phases.allGather}/0`])
})

test('ring: a piece of the wrong size is refused', async () => {
  const channels = createMemoryChannels(2)
  const [first, second] = channels.map((channel) => createRingCollective(channel))
  const results = await Promise.allSettled([
    first.allReduce(new Float32Array(4), { job: 1, step: 0, operation: 0 }),
    second.allReduce(new Float32Array(40), { job: 1, step: 0, operation: 0 }),
  ])
  for (const result of results)
    assert.ok(result.status === 'rejected' && MeshError.from(result.reason).code === 'peerInvalid')
})
