/**
 * Multi-head latent attention (DeepSeek V2 and later) of own heads, in its absorbed form: queries go to the latent, and
 * values are made of what is attended to, so that the cache is the latent of all heads, never taken apart into keys and
 * values. For a prompt the plain form would need fewer additions; both forms would be two paths to keep right.
 */
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import type { LatentAttentionSpec } from '../../model/architecture/model-spec.ts'
import { headsOf } from '../../model/shard-ranges.ts'
import type { Span } from '../backend.ts'
import { bucketedLength } from './lengths.ts'
import type { Pointer } from './library.ts'
import { type Building, f32Bytes, normed } from './parts.ts'
import { joinedSpans, maskOf, rowsOfSpan, storeRows, turnedBy } from './spans.ts'

interface Latent {
  readonly mixer: LatentAttentionSpec
  /** `layers.N.mla` */
  readonly name: string
  readonly heads: number
}

/** Heads that lie in rows one behind another as f32 [rows, heads, size], from element `first` of each on. */
const partOfHeads = (
  { ggml, context, rows }: Building,
  tensor: Pointer,
  { heads, width, first, size }: { readonly [key in 'heads' | 'width' | 'first' | 'size']: number },
): Pointer =>
  ggml.view_3d(context, tensor, size, heads, rows.count, width * f32Bytes, heads * width * f32Bytes, first * f32Bytes)

/** Rows and heads change places. */
const swapped = ({ ggml, context }: Building, tensor: Pointer): Pointer => ggml.permute(context, tensor, 0, 2, 1, 3)

/** Queries towards the latent and the turned part of the keys: f32 [heads, rows, kvRank + ropeDim]. */
const queries = (building: Building, { mixer, name, heads }: Latent, x: Pointer): Pointer => {
  const { ggml, context, weights } = building
  const { nopeDim, ropeDim, queryRank } = mixer
  const product = (part: string, from: Pointer): Pointer => ggml.mul_mat(context, weights.get(`${name}.${part}`), from)
  const q =
    queryRank === undefined ? product('q', x) : product('qb', normed(building, product('qa', x), `${name}.qaNorm`))
  const width = nopeDim + ropeDim
  const plain = partOfHeads(building, q, { heads, width, first: 0, size: nopeDim })
  const toTurn = partOfHeads(building, q, { heads, width, first: nopeDim, size: ropeDim })
  const absorbed = product('kb', swapped(building, plain))
  return ggml.concat(
    context,
    absorbed,
    swapped(building, turnedBy(building, toTurn, mixer.rope, { heads, width: ropeDim })),
    0,
  )
}

/** What a row leaves in the cache: its normed latent and its turned key, f32 [rows, kvRank + ropeDim]. */
const cached = (building: Building, { mixer, name }: Latent, x: Pointer): Pointer => {
  const { ggml, context, weights, rows } = building
  const { kvRank, ropeDim } = mixer
  const width = kvRank + ropeDim
  const raw = ggml.mul_mat(context, weights.get(`${name}.kva`), x)
  const latent = ggml.view_2d(context, raw, kvRank, rows.count, width * f32Bytes, 0)
  const key = partOfHeads(building, raw, { heads: 1, width, first: kvRank, size: ropeDim })
  const turned = ggml.reshape_2d(
    context,
    turnedBy(building, key, mixer.rope, { heads: 1, width: ropeDim }),
    ropeDim,
    rows.count,
  )
  return ggml.concat(context, normed(building, latent, `${name}.kvaNorm`), turned, 0)
}

/** Attention of one span over its own cache: f32 [count, own heads * kvRank]. @param q as `queries` gives it */
const attend = (
  building: Building,
  { mixer, heads }: Latent,
  span: Span,
  { q, place }: { readonly q: Pointer; readonly place: number },
): Pointer => {
  const { ggml, context, io, layer, rows } = building
  const { kvRank, ropeDim, scale } = mixer
  const width = kvRank + ropeDim
  const cache = building.cache(span.slot)
  const { keys } = cache.tensors(context, layer)
  const rowBytes = width * cache.elementBytes
  const view = (size: number): Pointer =>
    ggml.view_3d(context, keys, size, bucketedLength(span), 1, rowBytes, rowBytes, 0)
  const own = ggml.view_3d(
    context,
    q,
    width,
    span.count,
    heads,
    width * f32Bytes,
    rows.count * width * f32Bytes,
    (span.start - rows.first) * width * f32Bytes,
  )
  const mask = maskOf(building, span, io.maskKind({ kind: 'full' }), place)
  const out = ggml.flash_attn_ext(context, own, view(width), view(kvRank), mask, scale, 0, 0)
  return ggml.reshape_2d(context, out, heads * kvRank, span.count)
}

/** @param x f32 [rows, hidden], normed. @returns own part of o times what the heads give, f32 [rows, hidden] */
export const latentPart = (
  building: Building,
  mixer: LatentAttentionSpec,
  spans: readonly Span[],
  x: Pointer,
): Pointer => {
  const { ggml, context, weights, options, rows, layer } = building
  const heads = sizeOf(headsOf(options.spec, options.ranges, mixer).heads)
  const latent: Latent = { mixer, name: `layers.${layer}.mla`, heads }
  const { kvRank, ropeDim, valueDim } = mixer
  const left = cached(building, latent, x)
  for (const span of spans) {
    const { keys } = building.cache(span.slot).tensors(context, layer)
    storeRows(building, span, keys, rowsOfSpan(building, left, kvRank + ropeDim, span))
  }
  const q = queries(building, latent, x)
  const attended = joinedSpans(building, spans, heads * kvRank, (span, place) =>
    attend(building, latent, span, { q, place }),
  )
  const perHead = partOfHeads(building, attended, { heads, width: kvRank, first: 0, size: kvRank })
  const values = ggml.mul_mat(context, weights.get(`${latent.name}.vb`), swapped(building, perHead))
  const joined = ggml.reshape_2d(context, ggml.cont(context, swapped(building, values)), heads * valueDim, rows.count)
  return ggml.mul_mat(context, weights.get(`${latent.name}.o`), joined)
}
