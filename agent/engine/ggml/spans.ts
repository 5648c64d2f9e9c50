/** What every kind of attention does with the spans of a step: their rows of the cache, their masks, their results. */
import type { RopeSpec } from '../../model/architecture/model-spec.ts'
import type { Span } from '../backend.ts'
import { bucketedLength } from './lengths.ts'
import { type Pointer, types } from './library.ts'
import { type Building, f32Bytes } from './parts.ts'
import { divisorsName, pairingModes, rotationIn, type RotationVariant, variantOf } from './rotation.ts'

/** Writes rows of a span into a tensor of its cache. @param rows f32 [count, width of the cache] */
export const storeRows = (building: Building, { start, count }: Span, cache: Pointer, rows: Pointer): void => {
  const { ggml, context, graph, io } = building
  const indices = ggml.new_tensor_1d(context, types.i64, count)
  io.placeIndices(indices, start)
  ggml.build_forward_expand(graph, ggml.set_rows(context, cache, rows, indices))
}

/** @param kind which of the masks of a step. @param place of the span's, as `maskOffsets` says */
export const maskOf = (building: Building, span: Span, kind: number, place: number): Pointer => {
  const { ggml, context, io, rows } = building
  const mask = ggml.new_tensor_2d(context, types.f16, bucketedLength(span), span.count)
  io.placeMask(mask, rows.first, kind, place)
  return mask
}

/** Rows of a span among those of all. @param tensor f32 [rows, width] */
export const rowsOfSpan = (
  { ggml, context, rows }: Building,
  tensor: Pointer,
  width: number,
  { start, count }: Span,
): Pointer => ggml.view_2d(context, tensor, width, count, width * f32Bytes, (start - rows.first) * width * f32Bytes)

/**
 * What the spans attend to, one below the other: f32 [rows, width].
 * @param attend gives f32 [count, width] of one span, whose mask lies at `place`
 */
export const joinedSpans = (
  building: Building,
  spans: readonly Span[],
  width: number,
  attend: (span: Span, place: number) => Pointer,
): Pointer => {
  const { ggml, context, graph, io, rows } = building
  const masks = io.maskOffsets(spans.map((span) => bucketedLength(span) * span.count))
  const attended = spans.map((span, index) => attend(span, masks[index]))
  if (spans.length === 1) return attended[0]
  const joined = ggml.new_tensor_2d(context, types.f32, width, rows.count)
  io.placeJoined(joined, rows.first)
  for (const [index, span] of spans.entries())
    ggml.build_forward_expand(graph, ggml.cpy(context, attended[index], rowsOfSpan(building, joined, width, span)))
  return joined
}

const turned = (building: Building, x: Pointer, rope: RopeSpec, variant: RotationVariant): Pointer => {
  const { ggml, weights, context, options, io } = building
  const { base, divisors } = rotationIn(rope, variant)
  const positions = ggml.new_tensor_1d(context, types.i32, building.rows.count)
  io.placePositions(positions, building.rows.first)
  return ggml.rope_ext(
    context,
    x,
    positions,
    divisors ? weights.get(divisorsName(options.spec.layers[building.layer], variant)) : null,
    rope.span,
    pairingModes[rope.pairing],
    options.shape.context,
    base,
    1,
    0,
    rope.magnitude,
    32,
    1,
  )
}

/**
 * Turns heads from their first element on, those of each sequence by the frequencies for what it may reach.
 * @param x f32 [rows, heads, width]
 */
export const turnedBy = (
  building: Building,
  x: Pointer,
  rope: RopeSpec,
  { heads, width }: { readonly heads: number; readonly width: number },
): Pointer => {
  const { ggml, context, options, spans, rows } = building
  const variants = spans.map(({ planned = options.shape.context }) => variantOf(rope, planned))
  if (variants.every((variant) => variant === variants[0])) return turned(building, x, rope, variants[0])
  const all = { usual: turned(building, x, rope, 'usual'), long: turned(building, x, rope, 'long') }
  const rowBytes = heads * width * f32Bytes
  const parts = spans.map(({ start, count }, index) =>
    ggml.view_3d(
      context,
      all[variants[index]],
      width,
      heads,
      count,
      width * f32Bytes,
      rowBytes,
      (start - rows.first) * rowBytes,
    ),
  )
  return parts.reduce((above, below) => ggml.concat(context, above, below, 2))
}
