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

type WireOf = (bytes: number) => WireType

/** What an exchange sends: this rank's part, as rounded as it travels. */
interface OwnPart {
  readonly wire: WireType
  readonly codec: WireCodec
  readonly bytes: Uint8Array
}

/** The exchanges of one rank. */
class Exchanges {
  readonly #channel: TensorChannel
  readonly #others: readonly number[]
  readonly #wireOf: WireOf
  readonly #pool = new BufferPool()
  #sum = new Float32Array(0)

  constructor(channel: TensorChannel, wireOf: WireOf) {
    this.#channel = channel
    this.#others = othersOf(channel)
    this.#wireOf = wireOf
  }

  /** Sums one frame over two ranks. */
  async withOne(data: Float32Array, tag: FrameTag, sink?: PartSink): Promise<void> {
    const [other] = this.#others
    const own = this.#encode(data)
    const { wire, codec, bytes } = own
    const sending = this.#channel.send(other, tag, { dtype: codec.dtype, bytes })
    sending.catch(() => {}) // awaited below; a failed receive comes first
    const received = await this.#channel.receive(other, tag)
    await sending
    const part = partOf(received, codec, { from: other, length: data.length })
    sink?.({ rank: other, bytes: part, wire })
    addOther(data, bytes, part, codec)
    this.#giveBack(data, own)
    received.release?.()
  }

  /** Sums one frame over all ranks. */
  async withAll(data: Float32Array, tag: FrameTag, sink?: PartSink): Promise<void> {
    const channel = this.#channel
    const others = this.#others
    const own = this.#encode(data)
    const { wire, codec, bytes } = own
    const sending = Promise.all(others.map((other) => channel.send(other, tag, { dtype: codec.dtype, bytes })))
    sending.catch(() => {}) // awaited below; a failed receive comes first
    const received = await Promise.all(others.map((other) => channel.receive(other, tag)))
    await sending
    // Rank order on every rank, whatever came first: all ranks hold the same bits.
    const parts: Uint8Array[] = received.map((payload, index) =>
      partOf(payload, codec, { from: others[index], length: data.length }),
    )
    if (sink) for (const [index, part] of parts.entries()) sink({ rank: others[index], bytes: part, wire })
    parts.splice(channel.rank, 0, bytes)
    if (this.#sum.length < data.length) this.#sum = new Float32Array(data.length)
    const sum = this.#sum.subarray(0, data.length)
    addUp(sum, parts, codec)
    data.set(sum)
    this.#giveBack(data, own)
    for (const payload of received) payload.release?.()
  }

  #encode(data: Float32Array): OwnPart {
    const wire = this.#wireOf(data.byteLength)
    const codec = wireCodecs[wire]
    const bytes = codec.encode(data, () => this.#pool.take(codec.size(data.length)))
    checkOwn(bytes, codec)
    return { wire, codec, bytes }
  }

  #giveBack(data: Float32Array, { bytes }: OwnPart): void {
    if (bytes.buffer !== data.buffer) this.#pool.give(bytes)
  }
}

/** @param wireOf how tensors travel now; the same on every rank */
export const createDirectCollective = (channel: TensorChannel, wireOf: WireOf = () => 'f32'): Collective => {
  const { rank, worldSize } = channel
  const exchanges = new Exchanges(channel, wireOf)
  return {
    name: 'direct',
    rank,
    worldSize,
    allReduce: async (data, id, sink) => {
      if (worldSize === 1) return
      for (let start = 0, chunk = 0; start < data.length; start += frameElements, chunk++) {
        const frame = data.subarray(start, start + frameElements)
        const tag: FrameTag = { ...id, phase: phases.exchange, chunk }
        const whole = data.length <= frameElements ? sink : undefined
        await (worldSize === 2 ? exchanges.withOne(frame, tag, whole) : exchanges.withAll(frame, tag, whole))
      }
    },
  }
}
