/**
 * Ring all-reduce: reduce-scatter, then all-gather, over neighbours only. Each rank sends and receives 2 (P - 1) / P of
 * the data, which is the least possible (Patarasu and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
 * workstations", 2009); it takes 2 (P - 1) hops.
 *
 * The data is cut into P segments. In reduce-scatter, segment s starts at rank s and travels to the right; each
 * rank adds its own part, until rank s - 1 holds the sum. In all-gather the sums travel on. So each element is added in one
 * fixed order of ranks, and the bits that everybody ends with are those of one rank.
 * What a rank receives in one hop it sends in the next, so segments travel in pieces: a piece goes on as soon as it is
 * added, and the link is never idle between hops. Empty segments (fewer elements than ranks) send nothing.
 */
import { dtypes, type FrameTag, phases } from '../../shared/wire/frame.ts'
import type { Channel } from './channel.ts'
import type { Collective, OperationId } from './collective.ts'
import { bytesOf, floatsOf } from './floats.ts'

/** Elements of a piece: 256 KiB, large beside the cost of a frame, small beside a prefill chunk. */
const pieceElements = 64 * 1024
/** Chunk number in a tag: hop * this + piece. */
const piecesPerHop = 65536

interface Piece {
  readonly start: number
  readonly end: number
}

/** Segment `index` of `parts` as pieces; segments differ by one element at most, and may be empty. */
const piecesOf = (length: number, parts: number, index: number): Piece[] => {
  const from = Math.floor((length * index) / parts)
  const to = Math.floor((length * (index + 1)) / parts)
  const pieces: Piece[] = []
  for (let start = from; start < to; start += pieceElements) pieces.push({ start, end: Math.min(to, start + pieceElements) })
  return pieces
}

const add = (data: Float32Array, part: Float32Array, start: number): void => {
  for (let i = 0; i < part.length; i++) data[start + i] += part[i]
}

export const createRingCollective = (channel: Channel): Collective => {
  const { rank, worldSize } = channel
  const right = (rank + 1) % worldSize
  const left = (rank + worldSize - 1) % worldSize
  /** Hops of one phase; the other has as many. */
  const half = worldSize - 1
  /** The segment that this rank sends in a hop: its own first, then what the hop before brought. */
  const sentIn = (hop: number): number => (rank - hop + 2 * worldSize) % worldSize

  const tagOf = (id: OperationId, hop: number, piece: number): FrameTag =>
    hop < half
      ? { ...id, phase: phases.reduceScatter, chunk: hop * piecesPerHop + piece }
      : { ...id, phase: phases.allGather, chunk: (hop - half) * piecesPerHop + piece }

  const reduce = async (data: Float32Array, id: OperationId): Promise<void> => {
    // sends wait for each other in a chain of their own, so that a slow right neighbour does not keep us from adding
    let failed = false
    let sending = Promise.resolve()
    const send = (hop: number, piece: number, range: Piece): void => {
      sending = sending.then(() => (failed ? undefined : channel.send(right, tagOf(id, hop, piece), { dtype: dtypes.f32, bytes: bytesOf(data.subarray(range.start, range.end)) })))
      sending.catch(() => {}) // told when the chain is awaited; by then the left neighbour may have failed first
    }
    for (const [piece, range] of piecesOf(data.length, worldSize, sentIn(0)).entries()) send(0, piece, range)
    try {
      for (let hop = 0; hop < 2 * half; hop++) {
        for (const [piece, range] of piecesOf(data.length, worldSize, sentIn(hop + 1)).entries()) {
          const payload = await channel.receive(left, tagOf(id, hop, piece))
          const part = floatsOf(payload.bytes, range.end - range.start)
          if (hop < half) add(data, part, range.start)
          else data.set(part, range.start)
          payload.release?.()
          if (hop + 1 < 2 * half) send(hop + 1, piece, range)
        }
      }
      await sending
    } finally {
      failed = true // nothing more is sent from memory that belongs to the caller again
    }
  }

  return {
    name: 'ring',
    rank,
    worldSize,
    allReduce: async (data, id) => {
      if (data.length > 0 && worldSize > 1) await reduce(data, id)
    },
  }
}
