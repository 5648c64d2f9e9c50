/**
 * Direct exchange: every rank sends its part to every other and adds all of them itself, in rank order. One hop, and
 * P - 1 copies out of each rank: the least latency, so the choice for decode; the ring needs less bandwidth.
 */
import { MeshError } from '../../shared/errors.ts'
import { dtypes, type FrameTag, phases } from '../../shared/wire/frame.ts'
import type { Channel } from './channel.ts'
import type { Collective } from './collective.ts'
import { bytesOf, floatsOf } from './floats.ts'

/** Elements of one frame: a larger message travels in several (`limits.framePayloadBytes`). */
const frameElements = 4 * 2 ** 20

export const createDirectCollective = (channel: Channel): Collective => {
  const { rank, worldSize } = channel
  const others = Array.from({ length: worldSize }, (_, other) => other).filter((other) => other !== rank)

  const exchange = async (data: Float32Array, tag: FrameTag): Promise<void> => {
    const sending = Promise.all(others.map((other) => channel.send(other, tag, { dtype: dtypes.f32, bytes: bytesOf(data) })))
    sending.catch(() => {}) // awaited below; a failed receive comes first
    const parts = await Promise.all(others.map(async (other) => floatsOf((await channel.receive(other, tag)).bytes, data.length)))
    await sending
    // Rank order on every rank, whatever came first: all ranks hold the same bits.
    const inOrder = Array.from({ length: worldSize }, (_, from) => (from === rank ? data.slice() : parts[from < rank ? from : from - 1]))
    data.set(inOrder[0])
    for (const part of inOrder.slice(1)) {
      if (part.length !== data.length) throw new MeshError('frameInvalid', { problem: 'parts of different length' })
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
