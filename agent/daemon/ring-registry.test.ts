/** Rings as devices live them: epochs come, end and fail, over real links, shards and compute processes. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MeshError } from '../../shared/errors.ts'
import type { AgentMessage } from '../../shared/api/messages.ts'
import type { RingEpoch } from '../../shared/schema/ring.ts'
import { childrenOf } from '../../test/support/leftovers.ts'
import { eventually } from '../../test/support/processes.ts'
import { createRingDevices, type RingDevice } from './test/ring-devices.ts'

const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** Rank 0 runs a prompt of one token. @returns tokens that were written */
const runJob = async ({ registry }: RingDevice, { ringId, epoch }: RingEpoch, jobId: string): Promise<number> => {
  const { leader } = registry.session(ringId, epoch).leader
  const { tokens } = await leader.run({
    jobId,
    tokens: [1],
    maxTokens: 4,
    sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 1 },
    stop: [],
    endTokens: [],
    queuedMs: 0,
    signal: new AbortController().signal,
    onToken: () => {},
  })
  return tokens.length
}

const codeOf = (message: AgentMessage | undefined): string | undefined =>
  message !== undefined && 'error' in message ? message.error?.code : undefined

describe('rings of a device', () => {
  it('an epoch runs jobs; the next one replaces it and keeps the shard; a peer that leaves fails it on the other', async (t) => {
    const {
      devices: [leader, follower],
      ring,
    } = await createRingDevices(t, 2)
    for (const { registry } of [leader, follower]) registry.enter(ring(1))
    const [{ network }] = await Promise.all([leader.until(1, 'ready'), follower.until(1, 'ready')])
    assert.equal(network?.carrier, 'sockets')
    assert.equal(await runJob(leader, ring(1), 'job_1'), 4)
    await eventually(5000, 'the other rank heard that the job ended', () => follower.worked[0])
    assert.deepEqual(follower.registry.followed, { running: 0, done: 1, failed: 0 })

    const [held] = leader.registry.views()
    for (const { registry } of [leader, follower]) registry.enter(ring(2))
    await Promise.all([leader.until(2, 'ready'), follower.until(2, 'ready')])
    assert.equal(leader.registry.views()[0].loaded, held.loaded, 'its columns are the same')
    assert.throws(() => leader.registry.session(ring(1).ringId, 1), { code: 'epochStale' })
    leader.registry.enter(ring(1)) // late, from a control plane that was away
    assert.equal(leader.registry.views()[0].ring.epoch, 2)
    assert.equal(await runJob(leader, ring(2), 'job_2'), 4)

    follower.registry.leave(ring(2).ringId)
    const lost = await leader.until(2, 'failed')
    assert.match(codeOf(lost) ?? '', /^peer(Lost|Failed)$/)
    assert.throws(() => leader.registry.session(ring(2).ringId, 2).leader, { code: codeOf(lost) })
    leader.registry.enter(ring(2)) // what failed may come again
    follower.registry.enter(ring(2))
    await Promise.all([leader.until(2, 'ready'), follower.until(2, 'ready')])
    assert.equal(await runJob(leader, ring(2), 'job_3'), 4)

    follower.registry.leave(ring(2).ringId) // and comes back before its shard is freed
    for (const { registry } of [leader, follower]) registry.enter(ring(3))
    await Promise.all([leader.until(3, 'ready'), follower.until(3, 'ready')])
    assert.equal(await runJob(leader, ring(3), 'job_4'), 4)
  })

  it('a ring, and a trial, that is left before its turn came loads nothing', async (t) => {
    const {
      devices: [{ registry, loader, sent }],
      ring,
    } = await createRingDevices(t, 1)
    registry.enter(ring(1))
    registry.leave(ring(1).ringId)
    registry.try(ring(2))
    registry.leave(ring(2).ringId)
    await turns()
    assert.equal(loader.loads, 0)
    assert.deepEqual([registry.views(), registry.trials], [[], []])
    assert.deepEqual(
      sent.map(({ type }) => type),
      ['ring-state'],
    )
  })

  it('of epochs that follow each other at once the newest is loaded and no other', async (t) => {
    const {
      devices: [device],
      ring,
    } = await createRingDevices(t, 1)
    for (const epoch of [1, 2, 3]) device.registry.enter(ring(epoch))
    await device.until(3, 'ready')
    assert.equal(device.loader.loads, 1)
    assert.equal(await runJob(device, ring(3), 'job_1'), 4)
  })

  it('what cannot be loaded is told with its reason, and leaves no process', async (t) => {
    const {
      devices: [device],
      ring,
    } = await createRingDevices(t, 1)
    const before = childrenOf(process.pid, 'process-main')
    const other = ring(1)
    device.registry.enter({ ...other, model: { ...other.model, revision: 'f'.repeat(64) } })
    assert.equal(codeOf(await device.until(1, 'failed')), 'modelMismatch')
    assert.deepEqual(childrenOf(process.pid, 'process-main'), before)
  })

  it('a device that is left out looks for room, is tried, and takes part again', async (t) => {
    const {
      devices: [device],
      ring,
    } = await createRingDevices(t, 1)
    const { ringId, poolId } = ring(1)
    const error = new MeshError('diskFull', { file: 'f', needs: '1 GB', free: '1 MB' }).toReport()
    device.registry.leftOut({ type: 'ring-left-out', ringId, poolId, modelId: 'tiny-story', error, retryMs: 1000 })
    assert.deepEqual(
      device.registry.allLeftOut.map(({ error: { code } }) => code),
      ['diskFull'],
    )
    device.moreRoom()
    assert.deepEqual(device.sent, [{ type: 'ring-retry', ringId }])
    device.registry.try(ring(2))
    await eventually(60_000, 'it shows that it can', () =>
      device.sent.find((message) => message.type === 'ring-trial-state' && message.state === 'ready'),
    )
    assert.equal(device.registry.trials.length, 1)
    device.registry.enter(ring(2))
    await device.until(2, 'ready')
    assert.deepEqual([device.registry.trials, device.registry.allLeftOut], [[], []])
    device.sent.length = 0
    device.moreRoom()
    assert.deepEqual(device.sent, [], 'nobody looks for room any more')
  })
})
