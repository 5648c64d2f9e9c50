/** The channel over sockets keeps the contract of channels for tensors; links that go wrong; sums over them. */
import assert from 'node:assert/strict'
import { describe, it, test, type TestContext } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import type { TLSSocket } from 'node:tls'
import { MeshError } from '../../../shared/errors.ts'
import {
  dtypes,
  encodeFrameHeader,
  type FrameHeader,
  frameHeaderBytes,
  frameKinds,
  type FrameTag,
  phases,
} from '../../../shared/wire/frame.ts'
import { limits } from '../../../shared/limits.ts'
import { type MakeChannels, tensorChannelContract } from '../test/channel-contract.ts'
import type { TensorChannel } from '../channel.ts'
import { type CollectiveChoice, type CollectiveSettings, createCollective } from '../../collective/chooser.ts'
import type { Collective } from '../../collective/collective.ts'
import { checkAllReduce, checkCollective, testData } from '../../collective/test/contract.ts'
import { eventually } from '../../../test/support/processes.ts'
import { createMemoryChannels } from '../test/memory-channel.ts'
import type { SocketChannel, SocketChannelOptions } from './socket-channel.ts'
import { createSocketRanks, linkSockets, socketChannelOver, testEpoch } from './test/linked-sockets.ts'

const setUp = async (
  t: TestContext,
  worldSize: number,
  options: Partial<SocketChannelOptions> = {},
): Promise<SocketChannel[]> => {
  const ranks = await createSocketRanks(worldSize, options)
  t.after(() => Promise.all(ranks.map(({ channel }) => channel.close())))
  return ranks.map(({ channel }) => channel)
}

const makeIn =
  (t: TestContext): MakeChannels<TensorChannel> =>
  async (worldSize, options) => {
    const ranks = await createSocketRanks(worldSize, options)
    t.after(() => Promise.all(ranks.map(({ channel }) => channel.close())))
    return {
      channels: ranks.map(({ channel }) => channel),
      kill: (rank) => {
        for (const socket of ranks[rank].sockets.values()) socket.destroy()
      },
    }
  }

for (const [fact, check] of Object.entries(tensorChannelContract))
  test(`socket channel: ${fact}`, (t) => check(makeIn(t)))

const tag: FrameTag = { job: 1, step: 0, operation: 0, phase: phases.exchange, chunk: 0 }
const payloadOf = (bytes: number, seed = 1) => ({
  dtype: dtypes.f32,
  bytes: new Uint8Array(testData(bytes / 4, 0, seed).buffer),
})

describe('socket channel', () => {
  for (const [size, bytes] of Object.entries({
    'as long as what is copied': 64 * 1024,
    'one element longer': 64 * 1024 + 4,
    'of many writes': 5 * 2 ** 20,
  })) {
    it(`a frame ${size} arrives whole, between others and in both directions, and its memory is the sender's again`, async (t) => {
      const [a, b] = await setUp(t, 2)
      const want = payloadOf(bytes).bytes
      const sendAll = async (from: SocketChannel): Promise<void> => {
        for (const chunk of [0, 2, 4]) {
          await from.send(1 - from.rank, { ...tag, chunk }, payloadOf(40, chunk + 1))
          const sent = payloadOf(bytes)
          await from.send(1 - from.rank, { ...tag, chunk: chunk + 1 }, sent)
          sent.bytes.fill(0)
        }
      }
      const sending = Promise.all([a, b].map(sendAll))
      for (const to of [a, b]) {
        for (const chunk of [4, 0, 2]) {
          assert.deepEqual((await to.receive(1 - to.rank, { ...tag, chunk })).bytes, payloadOf(40, chunk + 1).bytes)
          assert.ok(Buffer.from(want).equals((await to.receive(1 - to.rank, { ...tag, chunk: chunk + 1 })).bytes))
        }
      }
      await sending
      assert.equal(a.bytesSent, 3 * (40 + bytes + 2 * frameHeaderBytes))
    })
  }

  it('a peer that reads nothing gives collectiveTimeout, for short frames and long ones', async (t) => {
    for (const bytes of [40_000, 2 ** 20]) {
      const [own, silent] = await linkSockets(2) // nobody listens to what comes out of `silent`
      const channel = socketChannelOver(0, own, { stepTimeoutMs: 300 })
      t.after(() => channel.close())
      t.after(() => silent.get(0)?.destroy())
      const sendUntilFull = async (): Promise<void> => {
        for (let chunk = 0; chunk < 2 ** 28 / bytes; chunk++) await channel.send(1, { ...tag, chunk }, payloadOf(bytes))
      }
      await assert.rejects(sendUntilFull(), (error: Error & { code?: string; fields?: object }) => {
        assert.equal(error.code, 'collectiveTimeout')
        assert.deepEqual(error.fields, { rank: 1, peer: 'node 1', seconds: 0.3 })
        return true
      })
      await assert.rejects(channel.send(1, tag, payloadOf(4)), { code: 'collectiveTimeout' }, 'the link is over')
      await assert.rejects(channel.receive(1, tag), { code: 'collectiveTimeout' })
    }
  })

  /** Rank 1 of three says that to rank 0, which waits for rank 2. */
  const afterBytes = async (t: TestContext, bytes: Uint8Array, code: string): Promise<void> => {
    const sockets = await linkSockets(3)
    const channels = [0, 2].map((rank) => socketChannelOver(rank, sockets[rank]))
    t.after(() => Promise.all(channels.map((channel) => channel.close())))
    const toVictim = sockets[1].get(0) as TLSSocket
    toVictim.on('error', () => {})
    t.after(() => [...sockets[1].values()].map((socket) => socket.destroy()))
    const waiting = [1, 2].map((from) => assert.rejects(channels[0].receive(from, tag), { code }))
    toVictim.resume().write(bytes)
    await Promise.all(waiting)
    for (const to of [1, 2]) await assert.rejects(channels[0].send(to, tag, payloadOf(4)), { code })
    for (let tries = 0; !toVictim.destroyed && tries < 3000; tries++) await pause(10)
    assert.ok(toVictim.destroyed, 'the link is cut')
  }

  const frame = (change: Partial<FrameHeader>): Uint8Array =>
    Buffer.concat([
      encodeFrameHeader({
        ...tag,
        kind: frameKinds.tensor,
        dtype: dtypes.f32,
        epoch: testEpoch,
        payloadBytes: 16,
        ...change,
      }),
      new Uint8Array(16),
    ])
  const oversized = (): Uint8Array => {
    const header = encodeFrameHeader({
      ...tag,
      kind: frameKinds.tensor,
      dtype: dtypes.f32,
      epoch: testEpoch,
      payloadBytes: 16,
    })
    const view = new DataView(header.buffer, header.byteOffset)
    const at = Array.from({ length: frameHeaderBytes / 4 }, (_, word) => word * 4).find(
      (offset) => view.getUint32(offset, true) === 16,
    ) as number
    view.setUint32(at, limits.framePayloadBytes + 1, true)
    return header
  }

  const faults = {
    'a control frame': { bytes: frame({ kind: frameKinds.control, dtype: dtypes.bytes }), code: 'peerInvalid' },
    'a frame of another epoch': { bytes: frame({ epoch: testEpoch - 1 }), code: 'epochStale' },
    garbage: { bytes: Buffer.from('GET / HTTP/1.1\r\nHost: somewhere\r\nAccept: */*\r\n\r\n'), code: 'peerInvalid' },
    'a header that announces more than a frame may hold': { bytes: oversized(), code: 'peerInvalid' },
  }
  for (const [what, { bytes, code }] of Object.entries(faults))
    it(`${what} ends the link and fails all that waits`, (t) => afterBytes(t, bytes, code as string))

  it('a link that ended before the channel was made is lost', async (t) => {
    const [own, other] = await linkSockets(3)
    own.get(1)?.destroy()
    other.get(0)?.destroy()
    await pause(20) // nobody is told any more
    const channel = socketChannelOver(0, own)
    t.after(() => [channel.close(), ...[...own.values(), ...other.values()].map((socket) => socket.destroy())])
    await assert.rejects(channel.receive(2, tag), {
      code: 'peerLost',
      fields: { peer: 'node 1', rank: 1, problem: 'the peer closed the link' },
    })
  })

  it('break fails what waits and what is sent later with its reason, once and for all', async (t) => {
    const [a] = await setUp(t, 2)
    const waiting = assert.rejects(a.receive(1, tag), { code: 'peerRemoved' })
    a.break(new MeshError('peerRemoved', { peer: 'node 1' }))
    a.break(new MeshError('jobCancelled'))
    await waiting
    await assert.rejects(a.send(1, tag, payloadOf(4)), { code: 'peerRemoved' })
  })
})

const isTurning = (): boolean => process.getActiveResourcesInfo().includes('Immediate')

describe('looking for frames before the thread sleeps', () => {
  it('gives the same sums, and stops', async (t) => {
    const ranks = (await setUp(t, 3, { spinMs: 2 })).map((channel) => createCollective(channel))
    await checkCollective(ranks)
    await checkAllReduce(ranks, 100_000)
    await eventually(5000, 'it stops', () => !isTurning() || undefined)
  })

  it('goes on while one of two frames is missing, and no longer than it is told', async (t) => {
    const [a, b] = await setUp(t, 3, { spinMs: 1000 })
    const waiting = [a.receive(1, tag), a.receive(2, tag)]
    for (const one of waiting) one.catch(() => {})
    await b.send(0, tag, payloadOf(4))
    await waiting[0]
    await pause(20)
    assert.ok(isTurning())
    await eventually(5000, 'it stops', () => !isTurning() || undefined)
  })
})

const collectivesOver = (channels: readonly TensorChannel[], settings: CollectiveSettings): Collective[] =>
  channels.map((channel) => {
    const collective = createCollective(channel)
    collective.use(settings)
    return collective
  })

/** What a sum of these ranks comes to, by rank. */
const sumOf = async (ranks: readonly Collective[], length: number, step: number): Promise<Float32Array[]> => {
  const data = ranks.map(({ rank }) => testData(length, rank))
  await Promise.all(ranks.map((collective, rank) => collective.allReduce(data[rank], { job: 100, step, operation: 0 })))
  return data
}

describe('sums over sockets', () => {
  for (const worldSize of [2, 3, 4, 5]) {
    it(`${worldSize} ranks: every algorithm keeps the contract of collectives; for every type on the wire the sum is that over memory, bit by bit`, async (t) => {
      const memory = createMemoryChannels(worldSize)
      let step = 0
      for (const algorithm of ['ring', 'direct', 'recursive-doubling'] satisfies CollectiveChoice[]) {
        const sockets = await setUp(t, worldSize)
        await checkCollective(collectivesOver(sockets, { algorithm, wire: 'f32' }))
        for (const wire of ['f32', 'f16', 'q8'] as const) {
          // sums over memory are held against exact ones in algorithms.test.ts
          for (const length of [1, 2048, 100_003]) {
            const [want] = await sumOf(collectivesOver(memory, { algorithm, wire }), length, ++step)
            for (const got of await sumOf(collectivesOver(sockets, { algorithm, wire }), length, step))
              assert.deepEqual(got, want, `${algorithm}, ${wire}, ${length} elements`)
          }
        }
      }
    })
  }
})
