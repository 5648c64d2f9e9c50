/**
 * Ring all-reduce: reduce-scatter, then all-gather, over neighbours only. Each rank sends and receives 2 (P - 1) / P of
 * the data, which is the least possible (Patarasu and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
 * workstations", 2009); it takes 2 (P - 1) hops.
 *
 * The data is cut into P segments. In reduce-scatter, segment s starts at rank s and travels to the right; each
 * rank adds its own part, until rank s - 1 holds the sum. In all-gather the sums travel on. So each element is added in one
 * fixed order of ranks, and the bits that everybody ends with are those of one rank.
 * Segments travel in pieces: while one is received the one before it is added and sent on.
 */
import { MeshError } from '../../shared/errors.ts'
import { dtypes, type Phase, phases } from '../../shared/wire/frame.ts'
import type { Channel } from './channel.ts'
import type { Collective, OperationId } from './collective.ts'

/** Elements of a piece: 256 KiB, large beside the cost of a frame, small beside a prefill chunk. */
const pieceElements = 64 * 1024

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

const asBytes = (data: Float32Array, { start, end }: Piece): Uint8Array => new Uint8Array(data.buffer, data.byteOffset + start * 4, (end - start) * 4)

const asFloats = (bytes: Uint8Array, { start, end }: Piece): Float32Array => {
  if (bytes.length !== (end - start) * 4) throw new MeshError('frameInvalid', { problem: `a piece of ${bytes.length} bytes, want ${(end - start) * 4}` })
  return bytes.byteOffset % 4 === 0 ? new Float32Array(bytes.buffer, bytes.byteOffset, end - start) : new Float32Array(bytes.slice().buffer)
}

const add = (data: Float32Array, part: Float32Array, start: number): void => {
  for (let i = 0; i < part.length; i++) data[start + i] += part[i]
}

export const createRingCollective = (channel: Channel): Collective => {
  const { rank, worldSize } = channel
  const right = (rank + 1) % worldSize
  const left = (rank + worldSize - 1) % worldSize
  const at = (segment: number): number => ((segment % worldSize) + worldSize) % worldSize

  /** Sends one segment to the right while the next one comes from the left. */
  const hop = async (data: Float32Array, id: OperationId, { phase, hop: number, send, receive }: { phase: Phase; hop: number; send: number; receive: number }): Promise<void> => {
    const tag = (piece: number): OperationId & { phase: Phase; chunk: number } => ({ ...id, phase, chunk: number * 65536 + piece })
    const incoming = piecesOf(data.length, worldSize, receive)
    const sending = (async () => {
      for (const [piece, range] of piecesOf(data.length, worldSize, send).entries()) {
        await channel.send(right, tag(piece), { dtype: dtypes.f32, bytes: asBytes(data, range) })
      }
    })()
    const receiving = (async () => {
      for (const [piece, range] of incoming.entries()) {
        const part = asFloats((await channel.receive(left, tag(piece))).bytes, range)
        if (phase === phases.reduceScatter) add(data, part, range.start)
        else data.set(part, range.start)
      }
    })()
    const [sent, received] = await Promise.allSettled([sending, receiving])
    if (received.status === 'rejected') throw received.reason
    if (sent.status === 'rejected') throw sent.reason
  }

  return {
    name: 'ring',
    rank,
    worldSize,
    allReduce: async (data, id) => {
      if (data.length === 0) return
      for (let step = 0; step < worldSize - 1; step++) {
        await hop(data, id, { phase: phases.reduceScatter, hop: step, send: at(rank - step), receive: at(rank - step - 1) })
      }
      for (let step = 0; step < worldSize - 1; step++) {
        await hop(data, id, { phase: phases.allGather, hop: step, send: at(rank + 1 - step), receive: at(rank - step) })
      }
    },
  }
}
