/**
 * What channels must do, whatever carries their frames: one suite for all that carry tensors, and more for those that
 * carry control messages too.
 */
import assert from 'node:assert/strict'
import type { RingControl } from '../../../shared/wire/envelope.ts'
import { dtypes, type FrameTag, frameHeaderBytes, phases } from '../../../shared/wire/frame.ts'
import type { Channel, TensorChannel } from '../channel.ts'

export interface ChannelsUnderTest<C extends TensorChannel> {
  /** Of all ranks, linked. */
  readonly channels: readonly C[]
  /** The process of that rank dies. */
  kill(rank: number): Promise<void> | void
}

export interface ChannelsOptions {
  readonly stepTimeoutMs?: number
  readonly earlyFrameBytes?: number
}

export type MakeChannels<C extends TensorChannel = Channel> = (
  worldSize: number,
  options?: ChannelsOptions,
) => Promise<ChannelsUnderTest<C>>

/** Name of a fact -> check that it holds. */
type Contract<C extends TensorChannel> = Readonly<Record<string, (make: MakeChannels<C>) => Promise<void>>>

/** The fields of a MeshError, for checks of more than its code. */
type Failure = Error & { readonly code?: string; readonly fields?: Record<string, unknown> }

const tagOf = (change: Partial<FrameTag> = {}): FrameTag => ({
  job: 1,
  step: 0,
  operation: 0,
  phase: phases.exchange,
  chunk: 0,
  ...change,
})
const payloadOf = (...values: number[]): { readonly dtype: typeof dtypes.f32; readonly bytes: Uint8Array } => ({
  dtype: dtypes.f32,
  bytes: new Uint8Array(Float32Array.from(values).buffer),
})
const floats = (bytes: Uint8Array): number[] => [...new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)]
const jobEnd = (job: number): RingControl => ({ type: 'job-end', job })

/** A frame that `to` has received is behind everything that `from` sent before. */
const passThrough = async (from: TensorChannel, to: TensorChannel, chunk: number): Promise<void> => {
  await from.send(to.rank, tagOf({ job: 99, chunk }), payloadOf())
  await to.receive(from.rank, tagOf({ job: 99, chunk }))
}

const frames: Contract<TensorChannel> = {
  'a frame arrives with its type and bytes, aligned, also when it is empty': async (make) => {
    const {
      channels: [a, b],
    } = await make(2)
    await a.send(1, tagOf(), payloadOf(1, -2.5, NaN))
    await a.send(1, tagOf({ chunk: 1 }), { dtype: dtypes.bytes, bytes: new Uint8Array(0) })
    const { dtype, bytes } = await b.receive(0, tagOf())
    assert.equal(dtype, dtypes.f32)
    assert.equal(bytes.byteOffset % 4, 0)
    assert.deepEqual(floats(bytes), [1, -2.5, NaN])
    const empty = await b.receive(0, tagOf({ chunk: 1 }))
    assert.deepEqual([empty.dtype, empty.bytes.length], [dtypes.bytes, 0])
  },
  "memory is the sender's again once the frame is sent": async (make) => {
    const {
      channels: [a, b],
    } = await make(2)
    const payload = payloadOf(1, 2, 3)
    await a.send(1, tagOf(), payload)
    payload.bytes.fill(255)
    assert.deepEqual(floats((await b.receive(0, tagOf())).bytes), [1, 2, 3])
  },
  'frames are told apart by each part of their tag, and asked for in any order': async (make) => {
    const {
      channels: [a, b],
    } = await make(2)
    const tags = [
      tagOf(),
      tagOf({ job: 2 }),
      tagOf({ step: 1 }),
      tagOf({ operation: 1 }),
      tagOf({ phase: phases.allGather }),
      tagOf({ chunk: 1 }),
    ]
    for (const [value, tag] of tags.entries()) await a.send(1, tag, payloadOf(value))
    for (const [value, tag] of [...tags.entries()].toReversed())
      assert.deepEqual(floats((await b.receive(0, tag)).bytes), [value])
  },
  'the same tag from two ranks is two frames': async (make) => {
    const {
      channels: [a, b, c],
    } = await make(3)
    await Promise.all([a.send(2, tagOf(), payloadOf(10)), b.send(2, tagOf(), payloadOf(20))])
    assert.deepEqual(floats((await c.receive(1, tagOf())).bytes), [20])
    assert.deepEqual(floats((await c.receive(0, tagOf())).bytes), [10])
  },
  'a duplicate is dropped': async (make) => {
    const {
      channels: [a, b],
    } = await make(2)
    await a.send(1, tagOf(), payloadOf(1))
    await a.send(1, tagOf(), payloadOf(2))
    await passThrough(a, b, 0)
    assert.deepEqual(floats((await b.receive(0, tagOf())).bytes), [1])
  },
  'bytes sent count headers': async (make) => {
    const {
      channels: [a],
    } = await make(2)
    const before = a.bytesSent
    await a.send(1, tagOf(), payloadOf(1, 2))
    assert.equal(a.bytesSent - before, frameHeaderBytes + 8)
  },
}

const jobs: Contract<TensorChannel> = {
  'a forgotten job stops waiting, its frames are dropped, others go on': async (make) => {
    const {
      channels: [a, b],
    } = await make(2)
    const waiting = assert.rejects(b.receive(0, tagOf({ step: 5 })), { code: 'jobCancelled' })
    await a.send(1, tagOf(), payloadOf(1)) // early
    await a.send(1, tagOf({ job: 2 }), payloadOf(2))
    await passThrough(a, b, 0)
    b.forgetJob(1)
    await waiting
    await a.send(1, tagOf({ step: 6 }), payloadOf(3)) // late
    await passThrough(a, b, 1)
    for (const step of [0, 6]) await assert.rejects(b.receive(0, tagOf({ step })), { code: 'jobCancelled' })
    assert.deepEqual(floats((await b.receive(0, tagOf({ job: 2 }))).bytes), [2])
  },
  'frames of a forgotten job make room again': async (make) => {
    const {
      channels: [a, b],
    } = await make(2, { earlyFrameBytes: 20_000 })
    for (let job = 1; job <= 5; job++) {
      await a.send(1, tagOf({ job }), { dtype: dtypes.f32, bytes: new Uint8Array(10_000) })
      await passThrough(a, b, job)
      b.forgetJob(job)
    }
  },
}

const losses: Contract<TensorChannel> = {
  'a silent rank is named after the step deadline, and its link stays': async (make) => {
    const {
      channels: [a, b],
    } = await make(2, { stepTimeoutMs: 100 })
    await assert.rejects(
      a.receive(1, tagOf()),
      (error: Failure) =>
        error.code === 'collectiveTimeout' && error.fields?.rank === 1 && error.fields.seconds === 0.1,
    )
    await b.send(0, tagOf({ chunk: 1 }), payloadOf(7))
    assert.deepEqual(floats((await a.receive(1, tagOf({ chunk: 1 }))).bytes), [7])
  },
  'a rank that dies fails all that waits within a second, what it had sent is still there': async (make) => {
    const {
      channels: [a, b, c],
      kill,
    } = await make(3, { stepTimeoutMs: 20_000 })
    await b.send(0, tagOf({ chunk: 3 }), payloadOf(3))
    await passThrough(b, a, 0)
    const waiting = [a.receive(1, tagOf()), a.receive(2, tagOf()), c.receive(1, tagOf()), c.receive(0, tagOf())].map(
      async (one) => {
        await assert.rejects(one, (error: Failure) => error.code === 'peerLost' && error.fields?.rank === 1)
        return performance.now()
      },
    )
    const started = performance.now()
    await kill(1)
    for (const at of await Promise.all(waiting)) assert.ok(at - started < 1000, `${at - started} ms`)
    assert.deepEqual(floats((await a.receive(1, tagOf({ chunk: 3 }))).bytes), [3])
    await assert.rejects(a.receive(1, tagOf({ chunk: 2 })), { code: 'peerLost' })
    await assert.rejects(a.send(1, tagOf(), payloadOf(1)), { code: 'peerLost' })
    await assert.rejects(a.receive(2, tagOf()), { code: 'peerLost' })
  },
  'a rank that leaves fails its own waiting, and that of the others': async (make) => {
    const {
      channels: [a, b],
    } = await make(2)
    const waiting = [a.receive(1, tagOf()), b.receive(0, tagOf())].map((one) =>
      assert.rejects(one, { code: 'peerLost' }),
    )
    await b.close()
    await Promise.all(waiting)
    await b.close()
    await assert.rejects(b.send(0, tagOf(), payloadOf(1)), { code: 'peerLost' })
  },
  'more than may be kept cuts the link, tiny frames included': async (make) => {
    for (const bytes of [new Uint8Array(6000), new Uint8Array(0)]) {
      const {
        channels: [a, b],
      } = await make(2, { earlyFrameBytes: 10_000 })
      const waiting = assert.rejects(b.receive(0, tagOf({ chunk: 1000 })), { code: 'peerInvalid' })
      const sending = (async () => {
        for (let chunk = 0; chunk < 100; chunk++) await a.send(1, tagOf({ chunk }), { dtype: dtypes.f32, bytes })
      })()
      await sending.catch(() => {}) // the link may be cut before the last one
      await waiting
      await assert.rejects(b.receive(0, tagOf({ chunk: 1001 })), { code: 'peerInvalid' })
    }
  },
}

const control: Contract<Channel> = {
  'control messages arrive in order, those from before somebody listened first': async (make) => {
    const {
      channels: [a, b],
    } = await make(2)
    for (const job of [1, 2]) await a.sendControl(1, jobEnd(job))
    await passThrough(a, b, 0)
    const seen: unknown[] = []
    b.onControl({ message: (from, message) => seen.push([from, message.job]), lost: () => {} })
    await a.sendControl(1, jobEnd(3))
    await passThrough(a, b, 1)
    assert.deepEqual(seen, [
      [0, 1],
      [0, 2],
      [0, 3],
    ])
  },
  'a rank that dies is told once for each link, the others still talk': async (make) => {
    const {
      channels: [a, b, c],
      kill,
    } = await make(3, { stepTimeoutMs: 20_000 })
    const lost: unknown[] = []
    const { promise: told, resolve: tell } = Promise.withResolvers<number>()
    for (const channel of [a, c])
      channel.onControl({
        message: (from) => tell(from),
        lost: (from, error) => lost.push([channel.rank, from, 'code' in error && error.code]),
      })
    await passThrough(b, a, 0)
    const waiting = [a, c].map((one) => assert.rejects(one.receive(1, tagOf()), { code: 'peerLost' }))
    await kill(1)
    await Promise.all(waiting)
    assert.deepEqual(lost.toSorted(), [
      [0, 1, 'peerLost'],
      [2, 1, 'peerLost'],
    ])
    await assert.rejects(c.sendControl(1, jobEnd(1)), { code: 'peerLost' })
    await a.sendControl(2, jobEnd(1))
    assert.equal(await told, 0)
  },
  'a loss from before somebody listened is told': async (make) => {
    const {
      channels: [a],
      kill,
    } = await make(2)
    const waiting = assert.rejects(a.receive(1, tagOf()), { code: 'peerLost' })
    await kill(1)
    await waiting
    const lost: number[] = []
    a.onControl({ message: () => {}, lost: (from) => lost.push(from) })
    assert.deepEqual(lost, [1])
  },
  'a rank that leaves is lost for the others': async (make) => {
    const {
      channels: [a, b],
    } = await make(2)
    const lost = new Promise<number>((resolve) => a.onControl({ message: () => {}, lost: resolve }))
    await b.close()
    assert.equal(await lost, 1)
  },
  'a link that is cut because too much was to be kept is told': async (make) => {
    const {
      channels: [a, b],
    } = await make(2, { earlyFrameBytes: 10_000 })
    const lost = new Promise<Error>((resolve) => b.onControl({ message: () => {}, lost: (_, error) => resolve(error) }))
    for (const chunk of [0, 1]) await a.send(1, tagOf({ chunk }), { dtype: dtypes.f32, bytes: new Uint8Array(6000) })
    assert.equal(((await lost) as Failure).code, 'peerInvalid')
  },
}

/** Of all that carries tensors. */
export const tensorChannelContract: Contract<TensorChannel> = { ...frames, ...jobs, ...losses }
/** Of what carries control messages too. */
export const channelContract: Contract<Channel> = { ...tensorChannelContract, ...control }
