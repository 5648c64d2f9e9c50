/** Everything that goes into a graph and comes out of it, in one piece of memory for a given number of rows. */
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import type { BackendOptions, Buffers, Span } from '../backend.ts'
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

export class IoMemory {
  readonly rows: number
  readonly buffers: Buffers
  readonly #shared: SharedMemory
  readonly #layout: ReturnType<typeof ioLayout>
  /** Positions, row indices and joined attention: only this side uses them. */
  readonly #own: SharedMemory
  readonly #indices: number
  readonly #joined: number
  /** Masks of each part of a step, under its first row: parts run in turn, so the masks of all are needed at once. */
  readonly #masks = new Map<number, SharedMemory>()
  readonly #ggml: Ggml
  readonly #rowBytes: number
  readonly #joinedRowBytes: number

  constructor(ggml: Ggml, options: BackendOptions, rows: number, memory: ArrayBufferLike) {
    this.#ggml = ggml
    this.rows = rows
    this.#rowBytes = options.shape.hidden * 4
    this.#joinedRowBytes = sizeOf(options.ranges.heads) * options.shape.headDim * 4
    this.#shared = wrapMemory(ggml, memory)
    this.#layout = ioLayout(options, rows)
    this.buffers = ioBuffers(options, rows, memory, this.#shared.start)
    this.#indices = align(rows * 4)
    this.#joined = this.#indices + align(rows * 8 + 64 * rows)
    this.#own = createMemory(ggml, this.#joined + align(rows * this.#joinedRowBytes))
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

  placeMask(tensor: Pointer, firstRow: number, offset: number): void {
    this.#masksOf(firstRow).place(tensor, offset)
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
    if (held && need <= held.memory.byteLength - alignment) return false
    held?.free()
    this.#masks.set(firstRow, createMemory(this.#ggml, need * 2))
    return held !== undefined
  }

  #masksOf(firstRow: number): SharedMemory {
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
      const length = lengths[index]
      const mask = new Uint16Array(masks.memory, masks.start + offsets[index], length * span.count)
      for (let row = 0; row < span.count; row++) {
        const seen = span.position + row + 1
        positions[row] = span.position + row
        rows[row] = BigInt(span.position + row)
        mask.fill(0, row * length, row * length + seen)
        mask.fill(0xfc00, row * length + seen, (row + 1) * length) // minus infinity
      }
    }
  }

  free(): void {
    this.#shared.free()
    this.#own.free()
    for (const masks of this.#masks.values()) masks.free()
  }
}
