/**
 * Direct exchange: every rank sends its part to every other and adds all of them itself, in rank order. One hop, and
 * P - 1 copies out of each rank: the least latency, so the choice for decode; the ring needs less bandwidth.
 */
import { type FrameTag, phases } from '../../shared/wire/frame.ts'
import { BufferPool } from '../channel/buffer-pool.ts'
import { othersOf, type TensorChannel } from '../channel/channel.ts'
import type { Collective, PartSink } from './collective.ts'
import { checkOwn, partOf, type WireCodec, wireCodecs, type WireType } from './wire-types.ts'

/** Elements of one frame: a larger message travels in several (`limits.framePayloadBytes`). */
const frameElements = 4 * 2 ** 20

/** sum of the parts, in order. */
const addUp = (sum: Float32Array, parts: readonly Uint8Array[], codec: WireCodec): void => {
  for (const [index, part] of parts.entries()) {
    if (index === 0) codec.set(sum, part)
    else codec.add(sum, part)
  }
}

/** Two ranks: a + b is b + a to the last bit, so the sum needs no memory of its own. */
const addOther = (data: Float32Array, own: Uint8Array, other: Uint8Array, codec: WireCodec): void => {
  if (own.buffer !== data.buffer) codec.set(data, own) // as rounded as the other's
  codec.add(data, other)
}

/** @param wireOf how tensors travel now; the same on every rank */
export const createDirectCollective = (
  channel: TensorChannel,
  wireOf: (bytes: number) => WireType = () => 'f32',
): Collective => {
  const { rank, worldSize } = channel
  const others = othersOf(channel)
  const pool = new BufferPool()
  let sum = new Float32Array(0)

  const exchangeWithOne = async (data: Float32Array, tag: FrameTag, sink?: PartSink): Promise<void> => {
    const [other] = others
    const wire = wireOf(data.byteLength)
    const codec = wireCodecs[wire]
    const own = codec.encode(data, () => pool.take(codec.size(data.length)))
    checkOwn(own, codec)
    const sending = channel.send(other, tag, { dtype: codec.dtype, bytes: own })
    sending.catch(() => {}) // awaited below; a failed receive comes first
    const received = await channel.receive(other, tag)
    await sending
    const part = partOf(received, codec, { from: other, length: data.length })
    sink?.({ rank: other, bytes: part, wire })
    addOther(data, own, part, codec)
    if (own.buffer !== data.buffer) pool.give(own)
    received.release?.()
  }

  const exchangeWithAll = async (data: Float32Array, tag: FrameTag, sink?: PartSink): Promise<void> => {
    const wire = wireOf(data.byteLength)
    const codec = wireCodecs[wire]
    const own = codec.encode(data, () => pool.take(codec.size(data.length)))
    checkOwn(own, codec)
    const sending = Promise.all(others.map((other) => channel.send(other, tag, { dtype: codec.dtype, bytes: own })))
    sending.catch(() => {}) // awaited below; a failed receive comes first
    const received = await Promise.all(others.map((other) => channel.receive(other, tag)))
    await sending
    // Rank order on every rank, whatever came first: all ranks hold the same bits.
    const parts: Uint8Array[] = received.map((payload, index) =>
      partOf(payload, codec, { from: others[index], length: data.length }),
    )
    if (sink) for (const [index, bytes] of parts.entries()) sink({ rank: others[index], bytes, wire })
    parts.splice(rank, 0, own)
    if (sum.length < data.length) sum = new Float32Array(data.length)
    addUp(sum.subarray(0, data.length), parts, codec)
    data.set(sum.subarray(0, data.length))
    if (own.buffer !== data.buffer) pool.give(own)
    for (const payload of received) payload.release?.()
  }

  const exchange = worldSize === 2 ? exchangeWithOne : exchangeWithAll

  return {
    name: 'direct',
    rank,
    worldSize,
    allReduce: async (data, id, sink) => {
      if (worldSize === 1) return
      for (let start = 0, chunk = 0; start < data.length; start += frameElements, chunk++) {
        await exchange(
          data.subarray(start, start + frameElements),
          { ...id, phase: phases.exchange, chunk },
          data.length <= frameElements ? sink : undefined,
        )
      }
    },
  }
}
