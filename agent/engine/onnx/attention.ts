/** The attention halves of one rank: matrices over all rows of a step, attention sequence by sequence. */
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import type { ModelSpec, RopeSpec } from '../../model/architecture/model-spec.ts'
import type { BackendOptions, Buffers, Span } from '../backend.ts'
import { type RopeTables, ropeTables } from '../rope.ts'
import { type CacheRows, KvCache, tensorOf } from './kv-cache.ts'
import {
  cacheTypeOf,
  fewRowsSegment,
  hasGroupQuery,
  manyRowsSegment,
  outputSegment,
  prefillRows,
  projectionSegment,
} from './segments.ts'
import { f32, type Feeds, i32, i64, type OpenGraph, type Outputs, type Session, type Value } from './session.ts'

/** Large enough to vanish in a softmax, small enough that adding to it stays finite. */
const masked = -1e30

/** The rotation of all layers. */
const ropeOf = ({ kinds: [{ mixer }] }: ModelSpec): RopeSpec => {
  if (mixer.kind !== 'attention' || !mixer.rope) throw new Error('this backend rotates queries and keys')
  return mixer.rope
}

interface Layer {
  readonly projection: Session<'q' | 'k' | 'v'>
  readonly output: Session
}

/** A sequence: its cache and what its attention takes besides, which is the same in every layer of a step. */
class Sequence {
  readonly cache: KvCache
  readonly #group: number
  /** Feeds of the span and capacity below. */
  #feeds: Feeds = {}
  #position = -1
  #count = 0
  #capacity = 0

  constructor(cache: KvCache, group: number) {
    this.cache = cache
    this.#group = group
  }

  /** Makes room for the rows of a span. */
  reserve({ position, count }: Span): void {
    this.cache.reserve(position + count)
  }

  feeds(span: Span, isMany: boolean): Feeds {
    const { position, count } = span
    const { capacity } = this.cache
    if (position !== this.#position || count !== this.#count || capacity !== this.#capacity) {
      const end = position + count
      const follows = count === 1 && this.#count === 1 && position === this.#position + 1 && capacity === this.#capacity
      if (isMany) this.#feeds = { lastIndex: i32(end - 1), totalLength: i32(end) }
      else if (follows) (this.#feeds.mask.data as Float32Array)[position] = 0
      else this.#feeds = { mask: this.#mask(span) }
      this.#position = position
      this.#count = count
      this.#capacity = capacity
    }
    return this.#feeds
  }

  /** f32 [1, 1, M, capacity]: each row sees the rows up to itself. One row for all heads where there is one token. */
  #mask({ position, count }: Span): Value {
    const { capacity } = this.cache
    const copies = count === 1 ? 1 : this.#group
    const mask = new Float32Array(count * copies * capacity).fill(masked)
    for (let row = 0; row < count; row++) {
      for (let copy = 0; copy < copies; copy++) {
        const at = (row * copies + copy) * capacity
        mask.fill(0, at, at + position + row + 1)
      }
    }
    return f32(mask, [1, 1, count * copies, capacity])
  }
}

export class Attention {
  readonly #options: BackendOptions
  readonly #open: OpenGraph
  readonly #layers: Layer[] = []
  readonly #few: Session | undefined
  readonly #many: Session | undefined
  readonly #sequences = new Map<number, Sequence>()
  #rope: RopeTables

  constructor(options: BackendOptions, open: OpenGraph) {
    this.#options = options
    this.#open = open
    this.#rope = ropeTables(0, ropeOf(options.spec))
    if (sizeOf(options.ranges.kvHeads) === 0) return
    this.#few = open('few-rows', fewRowsSegment(options), ['y'])
    if (hasGroupQuery(options.shape)) this.#many = open('many-rows', manyRowsSegment(options), ['y'])
  }

  loadLayer(layer: number): void {
    if (!this.#few) return
    this.#layers.push({
      projection: this.#open(`qkv-${layer}`, projectionSegment(this.#options, layer), ['q', 'k', 'v']),
      output: this.#open(`o-${layer}`, outputSegment(this.#options, layer), ['y']),
    })
  }

  /** One layer over spans that lie one behind another. @throws RangeError when one ends beyond the context */
  run(layer: number, spans: readonly Span[], { hidden, partial }: Buffers): void {
    const { hidden: width } = this.#options.shape
    const first = spans[0].start
    const rows = spans.reduce((sum, { count }) => sum + count, 0)
    if (!this.#few) return void partial.fill(0, first * width, (first + rows) * width)
    const { projection, output } = this.#layers[layer]
    this.#reserve(spans)
    const projected = projection.run({
      x: f32(hidden.subarray(first * width, (first + rows) * width), [1, rows, width]),
      positions: i64(
        spans.flatMap(({ position, count }) => Array.from({ length: count }, (_, i) => position + i)),
        [1, rows],
      ),
      cos: f32(this.#rope.cos, [this.#rope.rows, this.#options.shape.headDim / 2]),
      sin: f32(this.#rope.sin, [this.#rope.rows, this.#options.shape.headDim / 2]),
    })
    const columns = projected.q.length / rows
    let attended = projected.q as Float32Array
    if (spans.length === 1) attended = this.#attend(layer, spans[0], projected)
    else
      for (const span of spans) {
        const part = (all: CacheRows): CacheRows =>
          all.subarray(
            ((span.start - first) * all.length) / rows,
            ((span.start - first + span.count) * all.length) / rows,
          )
        // each sequence reads its own rows of q only, so they can give way to the result
        attended.set(
          this.#attend(layer, span, { q: part(projected.q), k: part(projected.k), v: part(projected.v) }),
          (span.start - first) * columns,
        )
      }
    partial.set(output.run({ x: f32(attended, [1, rows, columns]) }).y, first * width)
  }

  release(slot: number): void {
    this.#sequences.delete(slot)
  }

  releaseAll(): void {
    this.#sequences.clear()
  }

  close(): void {
    this.releaseAll()
    this.#few?.close()
    this.#many?.close()
    for (const { projection, output } of this.#layers) {
      projection.close()
      output.close()
    }
  }

  /** Appends k and v of a span to its sequence and attends over it. @returns f32 [count, own heads * headDim] */
  #attend(layer: number, span: Span, { q, k, v }: Outputs<'q' | 'k' | 'v'>): Float32Array {
    const sequence = this.#sequences.get(span.slot) as Sequence
    const { cache } = sequence
    cache.append(layer, span.position, { keys: k, values: v })
    const isMany = this.#many !== undefined && span.count >= prefillRows
    const rowsOf = (rows: CacheRows): Value => tensorOf(rows, [1, span.count, rows.length / span.count])
    const feeds: Feeds = { q: rowsOf(q), ...cache.layer(layer), ...sequence.feeds(span, isMany) }
    const session = (isMany ? this.#many : this.#few) as Session
    return session.run(isMany ? { ...feeds, k: rowsOf(k), v: rowsOf(v) } : feeds).y as Float32Array
  }

  /** Room in caches and rotation tables for all rows of the spans. */
  #reserve(spans: readonly Span[]): void {
    const { shape, ranges, quant, spec } = this.#options
    for (const span of spans) {
      const end = span.position + span.count
      if (end > shape.context) throw new RangeError(`${end} tokens in a context of ${shape.context}`)
      let sequence = this.#sequences.get(span.slot)
      if (!sequence) {
        sequence = new Sequence(
          new KvCache({
            layers: shape.layers,
            kvHeads: sizeOf(ranges.kvHeads),
            headDim: shape.headDim,
            type: cacheTypeOf(quant),
          }),
          shape.heads / shape.kvHeads,
        )
        this.#sequences.set(span.slot, sequence)
      }
      sequence.reserve(span)
      // doubled, so that a long context costs a few tables, not one a bucket
      if (this.#rope.rows < end)
        this.#rope = ropeTables(Math.min(shape.context, Math.max(256, 2 ** Math.ceil(Math.log2(end)))), ropeOf(spec))
    }
  }
}
