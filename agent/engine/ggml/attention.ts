/** The attention of own heads: projections, norms, rotation, cache and softmax over each sequence. */
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import type { AttentionSpec } from '../../model/architecture/model-spec.ts'
import { headsOf, normsProjection } from '../../model/shard-ranges.ts'
import type { Span } from '../backend.ts'
import { type Pointer, types } from './library.ts'
import { bucketedLength } from './lengths.ts'
import { type Building, f32Bytes, projected } from './parts.ts'
import { joinedSpans, maskOf, storeRows, turnedBy } from './spans.ts'

/** Rows of some heads inside of a tensor f32 [rows, ...]. */
interface HeadRows {
  readonly tensor: Pointer
  readonly heads: number
  readonly rowBytes: number
  /** Bytes before the first head in a row. */
  readonly offset: number
}

interface Attention {
  readonly mixer: AttentionSpec
  /** `layers.N.attention` */
  readonly name: string
  readonly heads: number
  readonly kvHeads: number
  /** All of q and k where they are normed over all heads, and their own else. */
  readonly projected: Record<'q' | 'k', { readonly heads: number; readonly firstOwn: number }>
  /** Which of the masks of a step it sees by. */
  readonly mask: number
}

/** [headDim, heads, count]: rows from `row` on. */
const headsView = (
  { ggml, context }: Building,
  { headDim }: AttentionSpec,
  { tensor, heads, rowBytes, offset }: HeadRows,
  { row, count }: { readonly row: number; readonly count: number },
): Pointer =>
  ggml.view_3d(context, tensor, headDim, heads, count, headDim * f32Bytes, rowBytes, row * rowBytes + offset)

const whole = (building: Building, mixer: AttentionSpec, rows: HeadRows): Pointer =>
  headsView(building, mixer, rows, { row: 0, count: building.rows.count })

/** A tensor [headDim, heads, rows] as rows of heads. */
const rowsOfHeads = ({ headDim }: AttentionSpec, tensor: Pointer, heads: number): HeadRows => ({
  tensor,
  heads,
  rowBytes: heads * headDim * f32Bytes,
  offset: 0,
})

interface Projections {
  readonly q: HeadRows
  readonly k: HeadRows | undefined
  readonly v: HeadRows | undefined
  /** q and k one behind the other in the same rows, where they are. */
  readonly qk: HeadRows | undefined
}

/** Own heads of what was projected. */
const narrowed = (
  { mixer, heads, kvHeads, projected: of }: Attention,
  letter: 'q' | 'k',
  rows: HeadRows,
): HeadRows => ({
  ...rows,
  heads: letter === 'q' ? heads : kvHeads,
  offset: rows.offset + of[letter].firstOwn * mixer.headDim * f32Bytes,
})

/** Own rows of q, k and v; all of q and k where their norm is over all. */
const project = (building: Building, attention: Attention, x: Pointer): Projections => {
  const { mixer, name, kvHeads } = attention
  const [heads, keyHeads] = [attention.projected.q.heads, attention.projected.k.heads]
  const { ggml, weights, context } = building
  const headBytes = mixer.headDim * f32Bytes
  const withKeys = mixer.kvFrom === undefined
  const ownKeys = (k: HeadRows | undefined): HeadRows | undefined => k && narrowed(attention, 'k', k)
  if (weights.has(`${name}.qkv`)) {
    const tensor = projected(building, `${name}.qkv`, x)
    const all = heads + (withKeys ? keyHeads + (mixer.keyIsValue ? 0 : kvHeads) : 0)
    const part = (first: number, count: number): HeadRows => ({
      tensor,
      heads: count,
      rowBytes: all * headBytes,
      offset: first * headBytes,
    })
    const k = withKeys ? part(heads, keyHeads) : undefined
    return {
      q: part(0, heads),
      k,
      v: withKeys && !mixer.keyIsValue ? part(heads + keyHeads, kvHeads) : ownKeys(k),
      qk: withKeys ? part(0, heads + keyHeads) : undefined,
    }
  }
  /** Its biases lie in one vector. @param first head of them */
  const part = (letter: 'q' | 'k' | 'v', first: number, count: number): HeadRows => {
    const y = ggml.mul_mat(context, weights.get(`${name}.${letter}`), x)
    if (!mixer.bias.qkv) return rowsOfHeads(mixer, y, count)
    const bias = ggml.view_1d(context, weights.get(`${name}.qkv.bias`), count * mixer.headDim, first * headBytes)
    return rowsOfHeads(mixer, ggml.add(context, y, bias), count)
  }
  const k = withKeys ? part('k', heads, keyHeads) : undefined
  return {
    q: part('q', 0, heads),
    k,
    v: withKeys && !mixer.keyIsValue ? part('v', heads + keyHeads, kvHeads) : ownKeys(k),
    qk: undefined,
  }
}

/** Norm of q or k: of each head, or of all of them. */
const qkNormed = (building: Building, { mixer, name }: Attention, letter: 'q' | 'k', rows: HeadRows): HeadRows => {
  const { ggml, weights, context, options } = building
  const { epsilon } = options.spec.norm
  const { tensor, rowBytes, offset } = rows
  const x = normsProjection(mixer)
    ? ggml.view_2d(context, tensor, rows.heads * mixer.headDim, building.rows.count, rowBytes, offset)
    : whole(building, mixer, rows)
  const scaled = mixer.qkNorm?.kind === 'layer' ? ggml.norm(context, x, epsilon) : ggml.rms_norm(context, x, epsilon)
  const weight = `${name}.${letter}Norm`
  const y = mixer.qkNorm?.weight ? ggml.mul(context, scaled, weights.get(weight)) : scaled
  return rowsOfHeads(mixer, y, rows.heads)
}

const rotated = (building: Building, { mixer }: Attention, rows: HeadRows): HeadRows => {
  const { ggml, context } = building
  const { rope, headDim } = mixer
  if (!rope) return rows
  if (rope.at === 'head' || rope.span === headDim)
    return rowsOfHeads(
      mixer,
      turnedBy(building, whole(building, mixer, rows), rope, { heads: rows.heads, width: headDim }),
      rows.heads,
    )
  const still = headDim - rope.span
  const { tensor, heads, rowBytes, offset } = rows
  const part = (first: number, size: number): Pointer => {
    const start = offset + first * f32Bytes
    return ggml.view_3d(context, tensor, size, heads, building.rows.count, headDim * f32Bytes, rowBytes, start)
  }
  const tail = turnedBy(building, part(still, rope.span), rope, { heads, width: rope.span })
  return rowsOfHeads(mixer, ggml.concat(context, part(0, still), tail, 0), rows.heads)
}

/** Queries times the factor of their position. */
const cooled = (building: Building, { mixer }: Attention, q: HeadRows): HeadRows => {
  const { ggml, context, io, rows } = building
  if (!mixer.temperature) return q
  const factors = ggml.new_tensor_3d(context, types.f32, 1, 1, rows.count)
  io.placeTemperature(factors, rows.first, mixer.temperature)
  return rowsOfHeads(mixer, ggml.mul(context, whole(building, mixer, q), factors), q.heads)
}

/** Queries and keys as the softmax takes them. */
const turned = (
  building: Building,
  attention: Attention,
  { q, k, qk }: Projections,
): { readonly q: HeadRows; readonly k: HeadRows | undefined } => {
  const { qkNorm } = attention.mixer
  if (!qkNorm && qk && k) {
    // both at once: one operation less in each layer
    const both = rotated(building, attention, qk)
    const headBytes = attention.mixer.headDim * f32Bytes
    return {
      q: { ...both, heads: q.heads },
      k: { ...both, heads: k.heads, offset: both.offset + q.heads * headBytes },
    }
  }
  const one = (letter: 'q' | 'k', rows: HeadRows): HeadRows => {
    if (qkNorm?.when === 'afterRope')
      return narrowed(attention, letter, qkNormed(building, attention, letter, rotated(building, attention, rows)))
    const before = qkNorm ? qkNormed(building, attention, letter, rows) : rows
    return rotated(building, attention, narrowed(attention, letter, before))
  }
  return { q: one('q', q), k: k && one('k', k) }
}

/** Writes keys and values of the spans into their caches. */
const store = (
  building: Building,
  { mixer, kvHeads }: Attention,
  spans: readonly Span[],
  { k, v }: { readonly k: HeadRows; readonly v: HeadRows },
): void => {
  const { ggml, context, layer, rows } = building
  const width = kvHeads * mixer.headDim
  const flat = ({ tensor, rowBytes, offset }: HeadRows, { start, count }: Span): Pointer =>
    ggml.view_2d(context, tensor, width, count, rowBytes, (start - rows.first) * rowBytes + offset)
  for (const span of spans) {
    const { keys, values } = building.cache(span.slot).tensors(context, layer)
    storeRows(building, span, keys, flat(k, span))
    storeRows(building, span, values, flat(v, span))
  }
}

/** Attention of one span over its own cache: f32 [own heads * headDim, count]. */
const attend = (
  building: Building,
  { mixer, name, heads, kvHeads, mask: kind }: Attention,
  span: Span,
  { q, mask: place }: { readonly q: HeadRows; readonly mask: number },
): Pointer => {
  const { ggml, context, weights, rows, layer } = building
  const { headDim } = mixer
  const cache = building.cache(span.slot)
  const length = bucketedLength(span)
  const { keys, values } = cache.tensors(context, mixer.kvFrom ?? layer)
  const rowBytes = kvHeads * headDim * cache.elementBytes
  const view = (tensor: Pointer): Pointer =>
    ggml.view_3d(context, tensor, headDim, length, kvHeads, rowBytes, headDim * cache.elementBytes, 0)
  const queries = headsView(building, mixer, q, { row: span.start - rows.first, count: span.count })
  const out = ggml.flash_attn_ext(
    context,
    ggml.permute(context, queries, 0, 2, 1, 3),
    view(keys),
    view(values),
    maskOf(building, span, kind, place),
    mixer.scale,
    0,
    mixer.softcap ?? 0,
  )
  if (mixer.sinks) ggml.flash_attn_ext_add_sinks(out, weights.get(`${name}.sinks`))
  return ggml.reshape_2d(context, out, heads * headDim, span.count)
}

/** @param x f32 [rows, hidden], normed. @returns own part of o times what the heads give, f32 [rows, hidden] */
export const attentionPart = (
  building: Building,
  mixer: AttentionSpec,
  spans: readonly Span[],
  x: Pointer,
): Pointer => {
  const { ggml, context, options, io, weights } = building
  const { heads, kvHeads } = headsOf(options.spec, options.ranges, mixer)
  const name = `layers.${building.layer}.attention`
  const attention: Attention = {
    mixer,
    name,
    heads: sizeOf(heads),
    kvHeads: sizeOf(kvHeads),
    projected: normsProjection(mixer)
      ? {
          q: { heads: mixer.heads, firstOwn: heads.start },
          k: { heads: mixer.kvHeads, firstOwn: kvHeads.start },
        }
      : { q: { heads: sizeOf(heads), firstOwn: 0 }, k: { heads: sizeOf(kvHeads), firstOwn: 0 } },
    mask: io.maskKind(mixer.mask),
  }
  const projections = project(building, attention, x)
  const { q: hot, k } = turned(building, attention, projections)
  const q = cooled(building, attention, hot)
  const plainValues = projections.v
  if (k && plainValues) {
    const v = mixer.valueNorm
      ? rowsOfHeads(
          mixer,
          ggml.rms_norm(context, whole(building, mixer, plainValues), options.spec.norm.epsilon),
          plainValues.heads,
        )
      : plainValues
    store(building, attention, spans, { k, v })
  }
  const joined = joinedSpans(building, spans, attention.heads * mixer.headDim, (span, place) =>
    attend(building, attention, span, { q, mask: place }),
  )
  const gated = mixer.outputGate
    ? ggml.mul(context, joined, ggml.sigmoid(context, ggml.mul_mat(context, weights.get(`${name}.gate`), x)))
    : joined
  return projected(building, `${name}.o`, gated)
}
