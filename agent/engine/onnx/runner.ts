/** Runs the segments of one rank. Lives in the compute thread. */
import { join } from 'node:path'
import { writeState } from '../../../shared/home.ts'
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import type { BackendOptions, Buffers, Span } from '../backend.ts'
import type { Runner } from '../host/command.ts'
import { KvCache } from '../kv-cache.ts'
import { type RopeTables, ropeTables } from '../rope.ts'
import { attentionSegment, hasGroupQuery, headSegment, mlpSegment, prefillRows } from './segments.ts'
import { bool, f32, type Feeds, i32, i64, i64Row, openSession, type Session } from './session.ts'

/** Large enough to vanish in a softmax, small enough that adding to it stays finite. */
const masked = -1e30

export class OnnxRunner implements Runner {
  readonly #options: BackendOptions
  readonly #attention: Session[] = []
  readonly #mlp: Session[] = []
  #head: Session | undefined
  readonly #caches = new Map<number, KvCache>()
  #rope: RopeTables
  /** Feeds of the current step that do not change from layer to layer, per first row of a span. */
  readonly #stepFeeds = new Map<number, { readonly capacity: number; readonly feeds: Feeds }>()

  private constructor(options: BackendOptions) {
    this.#options = options
    this.#rope = ropeTables(0, options.shape.headDim, options.ropeTheta)
  }

  /** Writes the graphs beside the weights and loads them. @param progress called with 0..1 */
  static async load(options: BackendOptions, progress: (fraction: number) => void): Promise<OnnxRunner> {
    const runner = new OnnxRunner(options)
    const { shape, ranges, shard, threads } = options
    const open = (name: string, bytes: Uint8Array): Promise<Session> => {
      const file = join(shard.folder, `${name}.onnx`)
      writeState(file, bytes)
      return openSession(file, threads)
    }
    for (let layer = 0; layer < shape.layers; layer++) {
      if (sizeOf(ranges.kvHeads) > 0) runner.#attention.push(await open(`attention-${layer}`, attentionSegment(options, layer)))
      if (sizeOf(ranges.ffn) > 0) runner.#mlp.push(await open(`mlp-${layer}`, mlpSegment(options, layer)))
      progress((layer + 1) / (shape.layers + 1))
    }
    if (sizeOf(ranges.vocab) > 0) runner.#head = await open('head', headSegment(options))
    progress(1)
    return runner
  }

  get layers(): number {
    return this.#options.shape.layers
  }

  get hidden(): number {
    return this.#options.shape.hidden
  }

  async attention(layer: number, spans: readonly Span[], buffers: Buffers): Promise<void> {
    const { hidden } = this.#options.shape
    for (const span of spans) {
      const from = span.start * hidden
      const to = from + span.count * hidden
      const session = this.#attention[layer]
      if (!session) {
        buffers.partial.fill(0, from, to)
        continue
      }
      const { headDim } = this.#options.shape
      const kv = sizeOf(this.#options.ranges.kvHeads)
      const cache = this.#cache(span.slot)
      const feeds = this.#feeds(layer, span, cache)
      const { keys, values } = cache.layer(layer)
      const dims = [1, kv, cache.capacity, headDim]
      const out = await session.run({
        ...feeds,
        x: f32(buffers.hidden.subarray(from, to), [1, span.count, hidden]),
        kCache: f32(keys, dims),
        vCache: f32(values, dims),
      })
      buffers.partial.set(out.y, from)
      cache.append(layer, span.position, span.count, { keys: out.kNew, values: out.vNew })
    }
  }

  async feedForward(layer: number, rows: number, buffers: Buffers, firstRow: number): Promise<void> {
    const { hidden } = this.#options.shape
    const [from, to] = [firstRow * hidden, (firstRow + rows) * hidden]
    const session = this.#mlp[layer]
    if (!session) return void buffers.partial.fill(0, from, to)
    const out = await session.run({ x: f32(buffers.hidden.subarray(from, to), [1, rows, hidden]) })
    buffers.partial.set(out.y, from)
  }

  async head(rows: number, buffers: Buffers): Promise<void> {
    const { hidden } = this.#options.shape
    if (!this.#head) return
    const out = await this.#head.run({ x: f32(buffers.hidden.subarray(0, rows * hidden), [1, rows, hidden]) })
    buffers.logits.set(out.y)
  }

  release(slot: number): void {
    this.#caches.delete(slot)
  }

  releaseAll(): void {
    this.#caches.clear()
  }

  async close(): Promise<void> {
    this.releaseAll()
    for (const session of [...this.#attention, ...this.#mlp, this.#head]) await session?.close()
  }

  #cache(slot: number): KvCache {
    let cache = this.#caches.get(slot)
    if (!cache) {
      const { shape, ranges } = this.#options
      cache = new KvCache(shape.layers, sizeOf(ranges.kvHeads), shape.headDim)
      this.#caches.set(slot, cache)
    }
    return cache
  }

  /** Made at the first layer, and again when another part of the step made the cache grow. */
  #feeds(layer: number, span: Span, cache: KvCache): Feeds {
    const known = this.#stepFeeds.get(span.start)
    if (layer > 0 && known?.capacity === cache.capacity) return known.feeds
    const feeds = this.#feedsOf(span)
    this.#stepFeeds.set(span.start, { capacity: cache.capacity, feeds })
    return feeds
  }

  #feedsOf(span: Span): Feeds {
    const { shape } = this.#options
    const end = span.position + span.count
    const cache = this.#cache(span.slot)
    cache.reserve(end)
    if (this.#rope.rows < end) this.#rope = ropeTables(Math.min(shape.context, cache.capacity), shape.headDim, this.#options.ropeTheta)
    const half = shape.headDim / 2
    const isPrefill = hasGroupQuery(shape) && span.count >= prefillRows
    const common: Feeds = {
      positions: i64Row(span.position, span.count),
      cos: f32(this.#rope.cos, [this.#rope.rows, half]),
      sin: f32(this.#rope.sin, [this.#rope.rows, half]),
      split: i64(cache.capacity, span.count),
      mask: isPrefill ? f32(new Float32Array(1), [1, 1, 1, 1]) : this.#mask(span, cache.capacity),
    }
    if (!hasGroupQuery(shape)) return common
    return { ...common, lastIndex: i32(end - 1), totalLength: i32(end), isPrefill: bool(isPrefill) }
  }

  /** f32 [1, 1, count * g, capacity + count]: cached rows before the span, then the span's own rows up to each one. */
  #mask(span: Span, capacity: number): ReturnType<typeof f32> {
    const { heads, kvHeads } = this.#options.shape
    const group = heads / kvHeads
    const width = capacity + span.count
    const mask = new Float32Array(span.count * group * width).fill(masked)
    for (let row = 0; row < span.count; row++) {
      for (let head = 0; head < group; head++) {
        const at = (row * group + head) * width
        mask.fill(0, at, at + span.position)
        mask.fill(0, at + capacity, at + capacity + row + 1)
      }
    }
    return f32(mask, [1, 1, span.count * group, width])
  }
}
