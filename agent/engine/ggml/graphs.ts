/**
 * ggml graphs of one rank for one composition of a step: per layer an attention half and an MLP half. Building takes
 * microseconds a layer; sets are kept and used again while rows and cache lengths stay in the same buckets.
 */
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import { layerSpec, type LayerSpec } from '../../model/architecture/model-spec.ts'
import { keyHeadsOf } from '../../model/delta-cut.ts'
import { headsOf, isHeaded } from '../../model/shard-ranges.ts'
import type { BackendOptions, Span } from '../backend.ts'
import { attentionPart } from './attention.ts'
import { deltaPart } from './delta.ts'
import { latentPart } from './latent.ts'
import { bucketedLength } from './lengths.ts'
import type { Ggml, Pointer } from './library.ts'
import { holdsMlp, mlpPart } from './mlp.ts'
import { type Building, type GraphParts, normed, residual, type Rows, rowsOf } from './parts.ts'
import { createContext } from './weights.ts'

/** Same key, same graphs. */
export const keyOf = (spans: readonly Span[]): string =>
  spans.map((span) => [span.start, span.slot, span.count, bucketedLength(span), span.planned].join(':')).join(',')

/** Graphs that share one scratch allocator: it must never see a larger graph, or the smaller ones would dangle. */
class GraphGroup {
  readonly #ggml: Ggml
  readonly #allocator: Pointer
  readonly #contexts: Pointer[] = []

  constructor(ggml: Ggml, bufferType: Pointer) {
    this.#ggml = ggml
    this.#allocator = ggml.gallocr_new(bufferType)
  }

  add(tensors: number, build: (context: Pointer, graph: Pointer) => void): Pointer {
    const context = createContext(this.#ggml, tensors, tensors)
    const graph = this.#ggml.new_graph_custom(context, tensors, false)
    build(context, graph)
    if (!this.#ggml.gallocr_alloc_graph(this.#allocator, graph)) throw new Error('ggml has no memory for a graph')
    this.#contexts.push(context)
    return graph
  }

  free(): void {
    this.#ggml.gallocr_free(this.#allocator)
    for (const context of this.#contexts) this.#ggml.free(context)
  }
}

export interface GraphSet {
  readonly rows: Rows
  /** By layer; undefined where the rank holds nothing of that half. */
  readonly attention: readonly (Pointer | undefined)[]
  readonly mlp: readonly (Pointer | undefined)[]
  free(): void
}

/** Tensors that one graph makes: a fixed part and one a span or a chosen expert, rounded up generously. */
const tensorsOf = ({ feedForward }: LayerSpec, spans: number): number =>
  64 + 40 * spans + 4 * (feedForward.experts?.used ?? 0)

const holdsHeads = ({ spec, ranges }: BackendOptions, { mixer }: LayerSpec): boolean =>
  sizeOf(isHeaded(mixer) ? headsOf(spec, ranges, mixer).kvHeads : keyHeadsOf(ranges, mixer)) > 0

/** The residual as a half takes it. */
const inputOf = (building: Building, { block }: LayerSpec, half: 'attention' | 'mlp'): Pointer => {
  const x = residual(building)
  return block === 'post' ? x : normed(building, x, `layers.${building.layer}.${half}.norm`)
}

const attentionOf = (building: Building, { mixer }: LayerSpec, spans: readonly Span[], x: Pointer): Pointer => {
  if (mixer.kind === 'mla') return latentPart(building, mixer, spans, x)
  return mixer.kind === 'delta' ? deltaPart(building, mixer, spans, x) : attentionPart(building, mixer, spans, x)
}

/** First half of a layer: attention, and the MLP where both take the same input. */
const firstHalf = (building: Building, layer: LayerSpec, spans: readonly Span[]): void => {
  const { ggml, io, context, graph, options } = building
  const x = inputOf(building, layer, 'attention')
  const withHeads = holdsHeads(options, layer)
  const withMlp = layer.block === 'parallel' && holdsMlp(options, layer.feedForward)
  const parts = [
    ...(withHeads ? [attentionOf(building, layer, spans, x)] : []),
    ...(withMlp ? [mlpPart(building, layer.feedForward, x)] : []),
  ]
  const y = parts.reduce((sum, part) => ggml.add(context, sum, part))
  io.placePartial(y, building.rows.first)
  ggml.build_forward_expand(graph, y)
}

const secondHalf = (building: Building, layer: LayerSpec): void => {
  const { ggml, io, graph } = building
  const y = mlpPart(building, layer.feedForward, inputOf(building, layer, 'mlp'))
  io.placePartial(y, building.rows.first)
  ggml.build_forward_expand(graph, y)
}

export const buildSet = (parts: GraphParts, spans: readonly Span[]): GraphSet => {
  const { ggml, device, options } = parts
  const { spec } = options
  const rows = rowsOf(spans)
  const groups = new Map<string, GraphGroup>()
  /** Graphs of one kind of layer are equally large. */
  const groupOf = (half: string, layer: number): GraphGroup => {
    const key = `${half} ${spec.layers[layer]}`
    const group = groups.get(key) ?? new GraphGroup(ggml, device.plain)
    groups.set(key, group)
    return group
  }
  const attention: (Pointer | undefined)[] = []
  const mlp: (Pointer | undefined)[] = []
  for (const layer of spec.layers.keys()) {
    const kind = layerSpec(spec, layer)
    const isParallel = kind.block === 'parallel'
    const withMlp = holdsMlp(options, kind.feedForward)
    const add = (half: string, build: (building: Building) => void): Pointer =>
      groupOf(half, layer).add(tensorsOf(kind, spans.length), (context, graph) =>
        build({ ...parts, context, graph, layer, rows, spans }),
      )
    attention.push(
      holdsHeads(options, kind) || (isParallel && withMlp)
        ? add('attention', (building) => firstHalf(building, kind, spans))
        : undefined,
    )
    mlp.push(!isParallel && withMlp ? add('mlp', (building) => secondHalf(building, kind)) : undefined)
  }
  return {
    rows,
    attention,
    mlp,
    free: () => {
      for (const group of groups.values()) group.free()
    },
  }
}

/** Final norm and head over the first `rows` rows of `hidden`. */
export const buildHead = (parts: GraphParts, rows: number): { readonly graph: Pointer; free(): void } => {
  const { ggml, weights, io, options } = parts
  const { scale, softcap } = options.spec.logits
  const group = new GraphGroup(ggml, parts.device.plain)
  const head = group.add(24, (context, graph) => {
    const building: Building = { ...parts, context, graph, layer: -1, rows: { first: 0, count: rows }, spans: [] }
    const x = normed(building, residual(building), 'head.norm')
    let y = ggml.mul_mat(context, weights.get('head'), x)
    if (softcap !== undefined)
      y = ggml.scale(context, ggml.tanh(context, ggml.scale(context, y, scale / softcap)), softcap)
    else if (scale !== 1) y = ggml.scale(context, y, scale)
    io.placeLogits(y)
    ggml.build_forward_expand(graph, y)
  })
  return { graph: head, free: () => group.free() }
}
