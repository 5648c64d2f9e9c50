/**
 * ggml graphs of one rank for one composition of a step: per layer an attention half and an MLP half. Building takes
 * microseconds a layer; sets are kept and used again while rows and cache lengths stay in the same buckets.
 */
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import type { BackendOptions, Span } from '../backend.ts'
import type { GgmlDevice } from './device.ts'
import type { GgmlKvCache } from './kv-cache.ts'
import { type Ggml, type Pointer, types } from './library.ts'
import type { IoMemory } from './io-memory.ts'
import { createContext, ropeDivisorsName, type Weights } from './weights.ts'

export interface GraphParts {
  readonly ggml: Ggml
  readonly device: GgmlDevice
  readonly options: BackendOptions
  readonly weights: Weights
  readonly io: IoMemory
  cache(slot: number): GgmlKvCache
}

/**
 * Cache rows that attention reads are rounded up to this, so that a graph serves many steps: of written tokens. Those
 * of a prompt are built for one step anyway, and attend to as little as ggml's tiles allow.
 */
const lengthBucket = 256
const promptBucket = 64
/** Rows of one sequence that are a prompt. */
const promptRows = 64
/** rope mode of Hugging Face's Llama (half-split pairs): GGML_ROPE_TYPE_NEOX. */
const ropeNeox = 2
const f32Bytes = 4

export const bucketedLength = ({ position, count }: Span): number => {
  const bucket = count < promptRows ? lengthBucket : promptBucket
  return Math.ceil((position + count) / bucket) * bucket
}

/** Same key, same graphs. */
export const keyOf = (spans: readonly Span[]): string =>
  spans.map((span) => `${span.start}:${span.slot}:${span.count}:${bucketedLength(span)}`).join(',')

/** Graphs that share one scratch allocator: it must never see a larger graph, or the smaller ones would dangle. */
class GraphGroup {
  readonly #ggml: Ggml
  readonly #allocator: Pointer
  readonly #contexts: Pointer[] = []
  readonly graphs: Pointer[] = []

  constructor(ggml: Ggml, bufferType: Pointer) {
    this.#ggml = ggml
    this.#allocator = ggml.gallocr_new(bufferType)
  }

  add(tensors: number, build: (context: Pointer, graph: Pointer) => void): void {
    const context = createContext(this.#ggml, tensors, tensors)
    const graph = this.#ggml.new_graph_custom(context, tensors, false)
    build(context, graph)
    if (!this.#ggml.gallocr_alloc_graph(this.#allocator, graph)) throw new Error('ggml has no memory for a graph')
    this.#contexts.push(context)
    this.graphs.push(graph)
  }

  free(): void {
    this.#ggml.gallocr_free(this.#allocator)
    for (const context of this.#contexts) this.#ggml.free(context)
  }
}

export interface GraphSet {
  readonly rows: Rows
  /** Undefined where the rank holds none. */
  readonly attention: readonly Pointer[] | undefined
  readonly mlp: readonly Pointer[] | undefined
  free(): void
}

/** Rows of the buffers, one behind another. */
export interface Rows {
  readonly first: number
  readonly count: number
}

export const rowsOf = (spans: readonly Span[]): Rows => ({
  first: spans[0].start,
  count: spans.reduce((sum, { count }) => sum + count, 0),
})

const input = ({ ggml, io, options }: GraphParts, context: Pointer, { first, count }: Rows): Pointer => {
  const x = ggml.new_tensor_2d(context, types.f32, options.shape.hidden, count)
  io.placeHidden(x, first)
  return x
}

const normed = ({ ggml, options, weights }: GraphParts, context: Pointer, x: Pointer, norm: string): Pointer =>
  ggml.mul(context, ggml.rms_norm(context, x, options.normEpsilon), weights.get(norm))

interface Attention {
  readonly layer: number
  readonly span: Span
  /** Rotated queries and keys, f32 [rows, rowBytes / 4]. */
  readonly turned: Pointer
  readonly rowBytes: number
  readonly rows: Rows
  /** Where the mask of the span lies. */
  readonly mask: number
}

/** Attention of one span over its own cache: f32 [own heads * headDim, count]. */
const attend = (parts: GraphParts, context: Pointer, attention: Attention): Pointer => {
  const { ggml, options, io } = parts
  const { layer, span, rows } = attention
  const row = span.start - rows.first
  const { headDim } = options.shape
  const heads = sizeOf(options.ranges.heads)
  const kv = sizeOf(options.ranges.kvHeads)
  const cache = parts.cache(span.slot)
  const length = bucketedLength(span)
  const { keys, values } = cache.tensors(context, layer)
  const rowBytes = kv * headDim * cache.elementBytes
  const view = (tensor: Pointer): Pointer =>
    ggml.view_3d(context, tensor, headDim, length, kv, rowBytes, headDim * cache.elementBytes, 0)
  const mask = ggml.new_tensor_2d(context, types.f16, length, span.count)
  io.placeMask(mask, rows.first, attention.mask)
  const queries = ggml.view_3d(
    context,
    attention.turned,
    headDim,
    heads,
    span.count,
    headDim * f32Bytes,
    attention.rowBytes,
    row * attention.rowBytes,
  )
  const out = ggml.flash_attn_ext(
    context,
    ggml.permute(context, queries, 0, 2, 1, 3),
    view(keys),
    view(values),
    mask,
    1 / Math.sqrt(headDim),
    0,
    0,
  )
  return ggml.reshape_2d(context, out, heads * headDim, span.count)
}

const attentionGraph =
  (parts: GraphParts, layer: number, spans: readonly Span[], rows: Rows) =>
  (context: Pointer, graph: Pointer): void => {
    const { ggml, options, weights, io } = parts
    const { shape, ranges, rope } = options
    const [heads, kv, hd] = [sizeOf(ranges.heads), sizeOf(ranges.kvHeads), shape.headDim]
    const name = `layers.${layer}.attention`
    const qkv = ggml.mul_mat(
      context,
      weights.get(`${name}.qkv`),
      normed(parts, context, input(parts, context, rows), `${name}.norm`),
    )
    const qkvBytes = (heads + 2 * kv) * hd * f32Bytes
    const positions = ggml.new_tensor_1d(context, types.i32, rows.count)
    io.placePositions(positions, rows.first)
    const qk = ggml.view_3d(context, qkv, hd, heads + kv, rows.count, hd * f32Bytes, qkvBytes, 0)
    const divisors = weights.has(ropeDivisorsName) ? weights.get(ropeDivisorsName) : null
    const turned = ggml.rope_ext(
      context,
      qk,
      positions,
      divisors,
      hd,
      ropeNeox,
      shape.context,
      rope.theta,
      1,
      0,
      1,
      32,
      1,
    )
    const turnedBytes = (heads + kv) * hd * f32Bytes

    for (const span of spans) {
      const row = span.start - rows.first
      const indices = ggml.new_tensor_1d(context, types.i64, span.count)
      io.placeIndices(indices, span.start)
      const { keys, values } = parts.cache(span.slot).tensors(context, layer)
      const k = ggml.view_2d(
        context,
        turned,
        kv * hd,
        span.count,
        turnedBytes,
        row * turnedBytes + heads * hd * f32Bytes,
      )
      const v = ggml.view_2d(context, qkv, kv * hd, span.count, qkvBytes, row * qkvBytes + (heads + kv) * hd * f32Bytes)
      ggml.build_forward_expand(graph, ggml.set_rows(context, keys, k, indices))
      ggml.build_forward_expand(graph, ggml.set_rows(context, values, v, indices))
    }
    const masks = io.maskOffsets(spans.map((span) => bucketedLength(span) * span.count))
    const attended = spans.map((span, index) =>
      attend(parts, context, { layer, span, turned, rowBytes: turnedBytes, rows, mask: masks[index] }),
    )
    let joined = attended[0]
    if (spans.length > 1) {
      joined = ggml.new_tensor_2d(context, types.f32, heads * hd, rows.count)
      io.placeJoined(joined, rows.first)
      const rowBytes = heads * hd * f32Bytes
      for (const [index, span] of spans.entries()) {
        const place = ggml.view_2d(
          context,
          joined,
          heads * hd,
          span.count,
          rowBytes,
          (span.start - rows.first) * rowBytes,
        )
        ggml.build_forward_expand(graph, ggml.cpy(context, attended[index], place))
      }
    }
    const y = ggml.mul_mat(context, weights.get(`${name}.o`), joined)
    io.placePartial(y, rows.first)
    ggml.build_forward_expand(graph, y)
  }

const mlpGraph =
  (parts: GraphParts, layer: number, rows: Rows) =>
  (context: Pointer, graph: Pointer): void => {
    const { ggml, weights, io } = parts
    const name = `layers.${layer}.mlp`
    const x = normed(parts, context, input(parts, context, rows), `${name}.norm`)
    const [gate, up] = ['gate', 'up'].map((part) => ggml.mul_mat(context, weights.get(`${name}.${part}`), x))
    const y = ggml.mul_mat(context, weights.get(`${name}.down`), ggml.swiglu_split(context, gate, up))
    io.placePartial(y, rows.first)
    ggml.build_forward_expand(graph, y)
  }

/** Tensors that one attention graph makes: a fixed part and one a span, rounded up generously. */
const attentionTensors = (spans: number): number => 24 + 24 * spans

export const buildSet = (parts: GraphParts, spans: readonly Span[]): GraphSet => {
  const { ggml, device, options } = parts
  const rows = rowsOf(spans)
  const layers = Array.from({ length: options.shape.layers }, (_, layer) => layer)
  const attention = sizeOf(options.ranges.kvHeads) > 0 ? new GraphGroup(ggml, device.plain) : undefined
  const mlp = sizeOf(options.ranges.ffn) > 0 ? new GraphGroup(ggml, device.plain) : undefined
  for (const layer of layers) {
    attention?.add(attentionTensors(spans.length), attentionGraph(parts, layer, spans, rows))
    mlp?.add(24, mlpGraph(parts, layer, rows))
  }
  return {
    rows,
    attention: attention?.graphs,
    mlp: mlp?.graphs,
    free: () => {
      attention?.free()
      mlp?.free()
    },
  }
}

/** Final norm and head over the first `rows` rows of `hidden`. */
export const buildHead = (parts: GraphParts, rows: number): { readonly graph: Pointer; free(): void } => {
  const group = new GraphGroup(parts.ggml, parts.device.plain)
  group.add(24, (context, graph) => {
    const y = parts.ggml.mul_mat(
      context,
      parts.weights.get('head'),
      normed(parts, context, input(parts, context, { first: 0, count: rows }), 'head.norm'),
    )
    parts.io.placeLogits(y)
    parts.ggml.build_forward_expand(graph, y)
  })
  return { graph: group.graphs[0], free: () => group.free() }
}
