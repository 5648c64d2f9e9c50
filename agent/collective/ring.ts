/**
 * Ring all-reduce: reduce-scatter, then all-gather, over neighbours only. Each rank sends and receives 2 (P - 1) / P of
 * the data, which is the least possible (Patarasu and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
 * workstations", 2009); it takes 2 (P - 1) hops.
 *
 * The data is cut into P segments. In reduce-scatter, segment s starts at rank s and travels to the right; each
 * rank adds its own part, until rank s - 1 holds the sum. In all-gather the sums travel on. So each element is added in
 * one fixed order of ranks, and the bits that everybody ends with are those of one rank. What a rank receives in one
 * hop it sends in the next, so segments travel in pieces: a piece goes on as soon as it is added, and the link is never
 * idle between hops. Empty segments (fewer elements than ranks) send nothing.
 *
 * Where the wire rounds (`wire-types.ts`), it rounds P times on the way of an element: each of the P - 1 sums in
 * between and the last one, which travels on as it is, and which its own rank takes over too.
 */
import { type FrameTag, phases } from '../../shared/wire/frame.ts'
import { BufferPool } from '../channel/buffer-pool.ts'
import type { TensorChannel, Payload } from '../channel/channel.ts'
import type { Collective, OperationId } from './collective.ts'
import { checkOwn, partOf, wireCodecs, type WireType } from './wire-types.ts'

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
  for (let start = from; start < to; start += pieceElements)
    pieces.push({ start, end: Math.min(to, start + pieceElements) })
  return pieces
}

/** @param wireOf how tensors travel now; the same on every rank */
export const createRingCollective = (
  channel: TensorChannel,
  wireOf: (bytes: number) => WireType = () => 'f32',
): Collective => {
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

  const pool = new BufferPool()

  const reduce = async (data: Float32Array, id: OperationId): Promise<void> => {
    const codec = wireCodecs[wireOf(data.byteLength)]
    // sends wait for each other in a chain of their own, so that a slow right neighbour does not keep us from adding
    let failed = false
    let sending = Promise.resolve()
    const send = (hop: number, piece: number, bytes: Uint8Array, sent?: () => void): void => {
      sending = sending.then(async () => {
        if (failed) return
        await channel.send(right, tagOf(id, hop, piece), { dtype: codec.dtype, bytes })
        sent?.()
      })
      sending.catch(() => {}) // told when the chain is awaited; by then the left neighbour may have failed first
    }
    /** Sends what is in `data` now. */
    const sendOwn = (hop: number, piece: number, { start, end }: Piece): void => {
      const own = data.subarray(start, end)
      const bytes = codec.encode(own, () => pool.take(codec.size(own.length)))
      checkOwn(bytes, codec)
      if (bytes.buffer === data.buffer) return send(hop, piece, bytes)
      if (hop === half) codec.set(own, bytes) // everybody ends with the sum as it travels
      send(hop, piece, bytes, () => pool.give(bytes))
    }
    const receive = async (hop: number, piece: number, { start, end }: Piece): Promise<void> => {
      const payload: Payload = await channel.receive(left, tagOf(id, hop, piece))
      const part = partOf(payload, codec, { from: left, length: end - start })
      if (hop < half) codec.add(data.subarray(start, end), part)
      else codec.set(data.subarray(start, end), part)
      if (hop < half) sendOwn(hop + 1, piece, { start, end })
      if (hop < half || hop + 1 === 2 * half) payload.release?.()
      else send(hop + 1, piece, part, () => payload.release?.()) // on as it came
    }
    for (const [piece, range] of piecesOf(data.length, worldSize, sentIn(0)).entries()) sendOwn(0, piece, range)
    try {
      for (let hop = 0; hop < 2 * half; hop++) {
        for (const [piece, range] of piecesOf(data.length, worldSize, sentIn(hop + 1)).entries())
          await receive(hop, piece, range)
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
