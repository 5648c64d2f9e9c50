/**
 * Direct exchange: every rank sends its part to every other and adds all of them itself, in rank order. One hop, and
 * P - 1 copies out of each rank: the least latency, so the choice for decode; the ring needs less bandwidth.
 */
import { type FrameTag, phases } from '../../shared/wire/frame.ts'
import type { Channel } from './channel.ts'
import type { Collective } from './collective.ts'
import { decodeWire, encodeWire, type WireType } from './floats.ts'

/** Elements of one frame: a larger message travels in several (`limits.framePayloadBytes`). */
const frameElements = 4 * 2 ** 20

/** @param wireOf how tensors travel now; the same on every rank */
export const createDirectCollective = (channel: Channel, wireOf: () => WireType = () => 'f32'): Collective => {
  const { rank, worldSize } = channel
  const others = Array.from({ length: worldSize }, (_, other) => other).filter((other) => other !== rank)

  const exchange = async (data: Float32Array, tag: FrameTag): Promise<void> => {
    const { dtype, bytes, seen } = encodeWire(data, wireOf())
    const sending = Promise.all(others.map((other) => channel.send(other, tag, { dtype, bytes })))
    sending.catch(() => {}) // awaited below; a failed receive comes first
    const parts = await Promise.all(others.map(async (other) => decodeWire(await channel.receive(other, tag), data.length)))
    await sending
    // Rank order on every rank, whatever came first: all ranks hold the same bits.
    const inOrder = Array.from({ length: worldSize }, (_, from) => (from === rank ? seen.slice() : parts[from < rank ? from : from - 1]))
    data.set(inOrder[0])
    for (const part of inOrder.slice(1)) {
      for (let i = 0; i < part.length; i++) data[i] += part[i]
    }
  }

  return {
    name: 'direct',
    rank,
    worldSize,
    allReduce: async (data, id) => {
      if (worldSize === 1) return
      for (let start = 0, chunk = 0; start < data.length; start += frameElements, chunk++) {
        await exchange(data.subarray(start, start + frameElements), { ...id, phase: phases.exchange, chunk })
      }
    },
  }
}
