import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import { checkCollective } from './contract.ts'
import { createMemoryChannels } from './memory-channel.ts'
import { createRingCollective } from './ring.ts'

for (const worldSize of [1, 2, 3, 5, 8]) {
  test(`ring of ${worldSize}: keeps the contract of collectives`, async () => {
    await checkCollective(createMemoryChannels(worldSize).map(createRingCollective))
  })
}

test('ring: a rank that dies in the middle fails all others with peerLost', async () => {
  const channels = createMemoryChannels(3)
  const [first, , third] = channels.map(createRingCollective)
  const id = { job: 1, step: 0, operation: 0 }
  const running = [first, third].map((collective) => collective.allReduce(new Float32Array(30), id))
  setImmediate(() => channels[1].kill())
  const [one, two] = await Promise.allSettled(running)
  const codes = [one, two].map((result) => result.status === 'rejected' && MeshError.from(result.reason).code)
  assert.ok(codes.includes('peerLost'), String(codes))
  assert.ok(codes.every((code) => code === 'peerLost' || code === 'collectiveTimeout'), String(codes))
})

test('ring: a silent rank is named when the step deadline passes', async () => {
  const [first] = createMemoryChannels(2, 50).map(createRingCollective)
  await assert.rejects(first.allReduce(new Float32Array(4), { job: 1, step: 0, operation: 0 }), { code: 'collectiveTimeout', fields: { peer: 'rank 1', rank: 1, seconds: 0.05 } })
})

test('ring: a forgotten job stops waiting at once', async () => {
  const channels = createMemoryChannels(2)
  const running = createRingCollective(channels[0]).allReduce(new Float32Array(4), { job: 7, step: 0, operation: 0 })
  channels[0].forgetJob(7)
  await assert.rejects(running, { code: 'jobCancelled' })
})

test('ring: a piece of the wrong size is refused', async () => {
  const channels = createMemoryChannels(2)
  const [first, second] = channels.map(createRingCollective)
  const results = await Promise.allSettled([first.allReduce(new Float32Array(4), { job: 1, step: 0, operation: 0 }), second.allReduce(new Float32Array(40), { job: 1, step: 0, operation: 0 })])
  for (const result of results) assert.ok(result.status === 'rejected' && MeshError.from(result.reason).code === 'frameInvalid')
})
