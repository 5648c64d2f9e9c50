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
import { checkOwn, partOf, type WireCodec, wireCodecs, type WireType } from './wire-types.ts'

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

/** The places of a rank in the ring: whom it hears and tells, and what travels when. */
class Places {
  readonly left: number
  readonly right: number
  /** Hops of one phase; the other has as many. */
  readonly half: number
  readonly #rank: number
  readonly #worldSize: number

  constructor({ rank, worldSize }: Pick<TensorChannel, 'rank' | 'worldSize'>) {
    this.right = (rank + 1) % worldSize
    this.left = (rank + worldSize - 1) % worldSize
    this.half = worldSize - 1
    this.#rank = rank
    this.#worldSize = worldSize
  }

  /** The pieces that this rank sends in a hop: those of its own segment first, then what the hop before brought. */
  sentIn(hop: number, length: number): Piece[] {
    return piecesOf(length, this.#worldSize, (this.#rank - hop + 2 * this.#worldSize) % this.#worldSize)
  }

  tagOf(id: OperationId, hop: number, piece: number): FrameTag {
    return hop < this.half
      ? { ...id, phase: phases.reduceScatter, chunk: hop * piecesPerHop + piece }
      : { ...id, phase: phases.allGather, chunk: (hop - this.half) * piecesPerHop + piece }
  }
}

interface Operation {
  readonly channel: TensorChannel
  readonly places: Places
  readonly pool: BufferPool
  readonly codec: WireCodec
  readonly data: Float32Array
  readonly id: OperationId
}

/** One all-reduce. */
class RingReduce {
  readonly #operation: Operation
  /** Sends wait for each other in a chain of their own, so that a slow right neighbour does not keep us from adding. */
  #sending = Promise.resolve()
  #failed = false

  constructor(operation: Operation) {
    this.#operation = operation
  }

  async run(): Promise<void> {
    const { places, data } = this.#operation
    for (const [piece, range] of places.sentIn(0, data.length).entries()) this.#sendOwn(0, piece, range)
    try {
      for (let hop = 0; hop < 2 * places.half; hop++) {
        for (const [piece, range] of places.sentIn(hop + 1, data.length).entries())
          await this.#receive(hop, piece, range)
      }
      await this.#sending
    } finally {
      this.#failed = true // nothing more is sent from memory that belongs to the caller again
    }
  }

  #send(hop: number, piece: number, bytes: Uint8Array, sent?: () => void): void {
    const { channel, places, codec, id } = this.#operation
    this.#sending = this.#sending.then(async () => {
      if (this.#failed) return
      await channel.send(places.right, places.tagOf(id, hop, piece), { dtype: codec.dtype, bytes })
      sent?.()
    })
    this.#sending.catch(() => {}) // told when the chain is awaited; by then the left neighbour may have failed first
  }

  /** Sends what is in `data` now. */
  #sendOwn(hop: number, piece: number, { start, end }: Piece): void {
    const { places, pool, codec, data } = this.#operation
    const own = data.subarray(start, end)
    const bytes = codec.encode(own, () => pool.take(codec.size(own.length)))
    checkOwn(bytes, codec)
    if (bytes.buffer === data.buffer) return this.#send(hop, piece, bytes)
    if (hop === places.half) codec.set(own, bytes) // everybody ends with the sum as it travels
    this.#send(hop, piece, bytes, () => pool.give(bytes))
  }

  async #receive(hop: number, piece: number, { start, end }: Piece): Promise<void> {
    const { channel, places, codec, data, id } = this.#operation
    const { left, half } = places
    const payload: Payload = await channel.receive(left, places.tagOf(id, hop, piece))
    const part = partOf(payload, codec, { from: left, length: end - start })
    if (hop < half) codec.add(data.subarray(start, end), part)
    else codec.set(data.subarray(start, end), part)
    if (hop < half) this.#sendOwn(hop + 1, piece, { start, end })
    if (hop < half || hop + 1 === 2 * half) payload.release?.()
    else this.#send(hop + 1, piece, part, () => payload.release?.()) // on as it came
  }
}

/** @param wireOf how tensors travel now; the same on every rank */
export const createRingCollective = (
  channel: TensorChannel,
  wireOf: (bytes: number) => WireType = () => 'f32',
): Collective => {
  const { rank, worldSize } = channel
  const places = new Places(channel)
  const pool = new BufferPool()
  return {
    name: 'ring',
    rank,
    worldSize,
    allReduce: async (data, id) => {
      if (data.length === 0 || worldSize === 1) return
      const codec = wireCodecs[wireOf(data.byteLength)]
      await new RingReduce({ channel, places, pool, codec, data, id }).run()
    },
  }
}
