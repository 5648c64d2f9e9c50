/**
 * Recursive doubling (Thakur, Rabenseifner, Gropp: "Optimization of collective communication operations in MPICH",
 * 2005): in hop k ranks whose numbers differ in bit k swap what they have summed so far, log2(P) hops in all. With a
 * world size that is no power of two the ranks beyond it first hand their part to a partner and get the result back.
 * Both partners add the lower rank's value to the higher one's, so that all ranks hold the same bits.
 */
import { dtypes, type FrameTag, phases } from '../../shared/wire/frame.ts'
import type { TensorChannel } from '../channel/channel.ts'
import type { Collective } from './collective.ts'
import { bytesOf, floatsOf } from './floats.ts'
import { checkOwn, partOf, wireCodecs } from './wire-types.ts'

/** Elements of one frame (`limits.framePayloadBytes`). */
const frameElements = 4 * 2 ** 20
/** Hop numbers in a tag: the folding in, the swaps, the handing back. */
const foldHop = 0
const backHop = 63
const hopsPerChunk = 64

const addPairwise = (data: Float32Array, other: Float32Array, isLower: boolean): void => {
  for (let i = 0; i < data.length; i++) data[i] = isLower ? data[i] + other[i] : other[i] + data[i]
}

export const createRecursiveDoubling = (channel: TensorChannel): Collective => {
  const { rank, worldSize } = channel
  const core = 2 ** Math.floor(Math.log2(worldSize))
  const partner = rank < core ? rank + core : rank - core

  const reduce = async (data: Float32Array, tagOf: (hop: number) => FrameTag): Promise<void> => {
    const send = (to: number, hop: number): Promise<void> =>
      channel.send(to, tagOf(hop), { dtype: dtypes.f32, bytes: bytesOf(data) })
    const receive = async (from: number, hop: number): Promise<Float32Array> =>
      floatsOf(
        partOf(await channel.receive(from, tagOf(hop)), wireCodecs.f32, { from, length: data.length }),
        data.length,
      )
    checkOwn(bytesOf(data), wireCodecs.f32)
    if (rank >= core) {
      await send(partner, foldHop)
      data.set(await receive(partner, backHop))
      return
    }
    if (partner < worldSize) addPairwise(data, await receive(partner, foldHop), true)
    for (let bit = 1, hop = 1; bit < core; bit *= 2, hop++) {
      const other = rank ^ bit
      const sending = send(other, hop)
      sending.catch(() => {}) // awaited below; a failed receive comes first
      const part = await receive(other, hop)
      await sending
      addPairwise(data, part, rank < other)
    }
    if (partner < worldSize) await send(partner, backHop)
  }

  return {
    name: 'recursive-doubling',
    rank,
    worldSize,
    allReduce: async (data, id) => {
      if (worldSize === 1) return
      for (let start = 0, chunk = 0; start < data.length; start += frameElements, chunk++) {
        await reduce(data.subarray(start, start + frameElements), (hop) => ({
          ...id,
          phase: phases.exchange,
          chunk: chunk * hopsPerChunk + hop,
        }))
      }
    },
  }
}
