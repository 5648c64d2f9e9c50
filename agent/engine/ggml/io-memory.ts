/** Everything that goes into a graph and comes out of it, in one piece of memory for a given number of rows. */
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import type { MaskSpec } from '../../model/architecture/model-spec.ts'
import { keyHeadsOf, valuesPerKey } from '../../model/delta-cut.ts'
import { headsOf, isHeaded } from '../../model/shard-ranges.ts'
import type { BackendOptions, Buffers, Span } from '../backend.ts'
import { firstSeen, maskKindsOf, sameMask } from '../masks.ts'
import { sameTemperature, type Temperature, temperatureAt, temperaturesOf } from '../temperatures.ts'
import type { Ggml, Pointer } from './library.ts'
import { align, alignment, createMemory, type SharedMemory, wrapMemory } from './memory.ts'

/** Sizes of the parts that both processes see, in bytes, each aligned. */
export const ioLayout = (
  { shape, ranges }: Pick<BackendOptions, 'shape' | 'ranges'>,
  rows: number,
): { readonly hidden: number; readonly partial: number; readonly logits: number; readonly total: number } => {
  const activations = align(rows * shape.hidden * 4)
  const logits = align(rows * sizeOf(ranges.vocab) * 4)
  return { hidden: 0, partial: activations, logits: 2 * activations, total: 2 * activations + logits }
}

/** Views of the shared parts. @param start offset of the first aligned byte */
export const ioBuffers = (
  options: Pick<BackendOptions, 'shape' | 'ranges'>,
  rows: number,
  memory: ArrayBufferLike,
  start: number,
): Buffers => {
  const layout = ioLayout(options, rows)
  const { shape, ranges } = options
  return {
    hidden: new Float32Array(memory, start + layout.hidden, rows * shape.hidden),
    partial: new Float32Array(memory, start + layout.partial, rows * shape.hidden),
    logits: new Float32Array(memory, start + layout.logits, rows * sizeOf(ranges.vocab)),
  }
}

/** Masks of one part of a step: those of each kind one behind another. */
interface Masks {
  readonly memory: SharedMemory
  readonly kindBytes: number
}

const minusInfinity = 0xfc00

/** f16 [count, length] */
const writeMask = (mask: Uint16Array, { position, count }: Span, kind: MaskSpec): void => {
  const length = mask.length / count
  mask.fill(minusInfinity)
  for (let row = 0; row < count; row++)
    mask.fill(0, row * length + firstSeen(kind, position + row), row * length + position + row + 1)
}

/** Columns of the widest attention of this rank. */
const joinedWidth = ({ spec, ranges }: BackendOptions): number =>
  Math.max(
    0,
    ...spec.kinds.map(({ mixer }) => {
      if (!isHeaded(mixer)) return sizeOf(keyHeadsOf(ranges, mixer)) * valuesPerKey(mixer) * mixer.valueDim
      // the latent is attended to: values are made of what comes out
      return sizeOf(headsOf(spec, ranges, mixer).heads) * (mixer.kind === 'mla' ? mixer.kvRank : mixer.headDim)
    }),
  )

/** Experts of a row at most. */
const mostUsed = ({ spec }: BackendOptions): number =>
  Math.max(0, ...spec.kinds.map(({ feedForward }) => feedForward.experts?.used ?? 0))

export class IoMemory {
  readonly rows: number
  readonly buffers: Buffers
  readonly #shared: SharedMemory
  readonly #layout: ReturnType<typeof ioLayout>
  /** Chosen experts and their weights, where there are any: i32 and f32 [rows, used]. */
  readonly #used: number
  /** Positions, row indices, choices and joined attention: only this side uses them. */
  readonly #own: SharedMemory
  readonly #indices: number
  readonly #choice: number
  readonly #factors: number
  readonly #joined: number
  /** Factors of queries, those of each kind one behind another: f32 [rows]. */
  readonly #factorsOfQueries: number
  readonly #temperatures: readonly Temperature[]
  readonly #maskKinds: readonly MaskSpec[]
  /** Masks of each part of a step, under its first row: parts run in turn, so the masks of all are needed at once. */
  readonly #masks = new Map<number, Masks>()
  readonly #ggml: Ggml
  readonly #rowBytes: number
  readonly #joinedRowBytes: number

  constructor(ggml: Ggml, options: BackendOptions, rows: number, memory: ArrayBufferLike) {
    this.#ggml = ggml
    this.rows = rows
    this.#rowBytes = options.shape.hidden * 4
    this.#joinedRowBytes = 4 * joinedWidth(options)
    this.#maskKinds = maskKindsOf(options.spec)
    this.#used = mostUsed(options)
    this.#shared = wrapMemory(ggml, memory)
    this.#layout = ioLayout(options, rows)
    this.buffers = ioBuffers(options, rows, memory, this.#shared.start)
    this.#indices = align(rows * 4)
    this.#choice = this.#indices + align(rows * 8 + 64 * rows)
    this.#factors = this.#choice + align(rows * this.#used * 4)
    this.#joined = this.#factors + align(rows * this.#used * 4)
    this.#temperatures = temperaturesOf(options.spec)
    this.#factorsOfQueries = this.#joined + align(rows * this.#joinedRowBytes)
    this.#own = createMemory(ggml, this.#factorsOfQueries + this.#temperatures.length * align(rows * 4))
  }

  placeHidden(tensor: Pointer, firstRow: number): void {
    this.#shared.place(tensor, this.#layout.hidden + firstRow * this.#rowBytes)
  }

  placePartial(tensor: Pointer, firstRow: number): void {
    this.#shared.place(tensor, this.#layout.partial + firstRow * this.#rowBytes)
  }

  placeLogits(tensor: Pointer): void {
    this.#shared.place(tensor, this.#layout.logits)
  }

  placePositions(tensor: Pointer, firstRow: number): void {
    this.#own.place(tensor, firstRow * 4)
  }

  /** Indices of a span lie at a multiple of the alignment of their own. */
  placeIndices(tensor: Pointer, firstRow: number): void {
    this.#own.place(tensor, this.#indices + align(firstRow * 8 + 56 * firstRow))
  }

  placeJoined(tensor: Pointer, firstRow: number): void {
    this.#own.place(tensor, this.#joined + firstRow * this.#joinedRowBytes)
  }

  placeTemperature(tensor: Pointer, firstRow: number, temperature: Temperature): void {
    const kind = this.#temperatures.findIndex((one) => sameTemperature(one, temperature))
    this.#own.place(tensor, this.#factorsOfQueries + kind * align(this.rows * 4) + firstRow * 4)
  }

  /** Experts of the rows from `firstRow` on. */
  placeChoice(tensor: Pointer, firstRow: number): void {
    this.#own.place(tensor, this.#choice + firstRow * this.#used * 4)
  }

  placeFactors(tensor: Pointer, firstRow: number): void {
    this.#own.place(tensor, this.#factors + firstRow * this.#used * 4)
  }

  /** Where the experts of some rows are written before the graph runs. @param used of each row */
  choice(firstRow: number, rows: number, used: number): { readonly ids: Int32Array; readonly factors: Float32Array } {
    const { memory, start } = this.#own
    const offset = start + firstRow * this.#used * 4
    return {
      ids: new Int32Array(memory, offset + this.#choice, rows * used),
      factors: new Float32Array(memory, offset + this.#factors, rows * used),
    }
  }

  /** Which of the masks of a step is that one. */
  maskKind(mask: MaskSpec): number {
    return this.#maskKinds.findIndex((kind) => sameMask(kind, mask))
  }

  /** @param kind of the mask. @param offset of the span's mask, as `maskOffsets` says */
  placeMask(tensor: Pointer, firstRow: number, kind: number, offset: number): void {
    const masks = this.#masksOf(firstRow)
    masks.memory.place(tensor, kind * masks.kindBytes + offset)
  }

  /** Where the masks of the spans lie. @param elements of each, f16 */
  maskOffsets(elements: readonly number[]): number[] {
    let at = 0
    return elements.map((count) => {
      const offset = at
      at += align(count * 2)
      return offset
    })
  }

  /** Makes room for masks. @returns true when they moved: graphs that point to them must be built again */
  reserveMasks(firstRow: number, elements: readonly number[]): boolean {
    const need = elements.reduce((sum, count) => sum + align(count * 2), 0)
    const held = this.#masks.get(firstRow)
    if (held && need <= held.kindBytes) return false
    held?.memory.free()
    const kindBytes = need * 2
    this.#masks.set(firstRow, {
      memory: createMemory(this.#ggml, Math.max(alignment, kindBytes * this.#maskKinds.length)),
      kindBytes,
    })
    return held !== undefined
  }

  #masksOf(firstRow: number): Masks {
    const masks = this.#masks.get(firstRow)
    if (!masks) throw new Error(`no masks for rows from ${firstRow}`)
    return masks
  }

  /** Positions, row indices and masks of a step. @param lengths cache rows that each span's mask covers */
  write(spans: readonly Span[], lengths: readonly number[]): void {
    const { memory, start } = this.#own
    const masks = this.#masksOf(spans[0].start)
    const offsets = this.maskOffsets(spans.map((span, index) => lengths[index] * span.count))
    for (const [index, span] of spans.entries()) {
      const positions = new Int32Array(memory, start + span.start * 4, span.count)
      const rows = new BigInt64Array(memory, start + this.#indices + align(span.start * 64), span.count)
      for (let row = 0; row < span.count; row++) {
        positions[row] = span.position + row
        rows[row] = BigInt(span.position + row)
      }
      for (const [number, temperature] of this.#temperatures.entries()) {
        const at = start + this.#factorsOfQueries + number * align(this.rows * 4) + span.start * 4
        new Float32Array(memory, at, span.count).set(
          Float32Array.from({ length: span.count }, (_, row) => temperatureAt(temperature, span.position + row)),
        )
      }
      for (const [number, kind] of this.#maskKinds.entries()) {
        const at = masks.memory.start + number * masks.kindBytes + offsets[index]
        writeMask(new Uint16Array(masks.memory.memory, at, lengths[index] * span.count), span, kind)
      }
    }
  }

  free(): void {
    this.#shared.free()
    this.#own.free()
    for (const { memory } of this.#masks.values()) memory.free()
  }
}
