/**
 * The gated delta net (Yang et al., 2025, as in Qwen3-Next and Qwen3.5) of own heads: projections, a causal convolution
 * over the positions, the delta rule on the state of each sequence, and the gated norm of what it gives.
 */
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import type { DeltaSpec } from '../../model/architecture/model-spec.ts'
import { keyHeadsOf, outputNames, valuesPerKey } from '../../model/delta-cut.ts'
import type { Span } from '../backend.ts'
import type { Pointer } from './library.ts'
import { type Building, f32Bytes } from './parts.ts'
import { joinedSpans, rowsOfSpan } from './spans.ts'

interface Delta {
  readonly mixer: DeltaSpec
  /** `layers.N.delta` */
  readonly name: string
  readonly keyHeads: number
  readonly valueHeads: number
}

/** Added to the sum of squares of a query or key before its root. */
const unitEpsilon = 1e-6

/** Elements of a row of q, k and v together. */
const channelsOf = ({ mixer, keyHeads, valueHeads }: Delta): number =>
  2 * keyHeads * mixer.keyDim + valueHeads * mixer.valueDim

/** Rows of one span behind the convolution, and the state that the delta rule goes on from. */
interface Convolved {
  readonly span: Span
  /** f32 [count, channels] */
  readonly x: Pointer
  /** f32 [valueHeads, valueDim, keyDim] */
  readonly state: Pointer
}

/** The last inputs of the convolution stay in the state. @param mixed f32 [rows, channels] */
const convolved = (building: Building, delta: Delta, span: Span, mixed: Pointer): Convolved => {
  const { ggml, context, graph, weights, layer } = building
  const channels = channelsOf(delta)
  const { inputs, heads } = building.state(span.slot).tensors(context, layer)
  const before = delta.mixer.convolution - 1
  const turned = ggml.permute(context, rowsOfSpan(building, mixed, channels, span), 1, 0, 2, 3)
  const all = ggml.concat(context, inputs, turned, 0)
  const rowBytes = (before + span.count) * f32Bytes
  const last = ggml.view_2d(context, all, before, channels, rowBytes, span.count * f32Bytes)
  ggml.build_forward_expand(graph, ggml.cpy(context, last, inputs))
  const x = ggml.silu(context, ggml.ssm_conv(context, all, weights.get(`${delta.name}.convolution`)))
  return { span, x, state: heads }
}

/**
 * Queries or keys of unit length, one for each value head or each key head: f32 [count, heads, keyDim].
 * @param first head of them in a row
 */
const units = (building: Building, delta: Delta, { x, span: { count } }: Convolved, first: number): Pointer => {
  const { ggml, context } = building
  const { mixer, keyHeads } = delta
  const { keyDim } = mixer
  const rowBytes = channelsOf(delta) * f32Bytes
  const raw = ggml.view_3d(context, x, keyDim, keyHeads, count, keyDim * f32Bytes, rowBytes, first * keyDim * f32Bytes)
  // the norm divides by the root of the mean, a unit vector by that of the sum
  const unit = ggml.scale(context, ggml.rms_norm(context, raw, unitEpsilon / keyDim), keyDim ** -0.5)
  const each = valuesPerKey(mixer)
  // the kernel takes key head h mod keyHeads for value head h
  if (each === 1 || mixer.valueOrder === 'tiled') return unit
  const apart = ggml.reshape_3d(context, unit, keyDim, 1, keyHeads * count)
  const like = ggml.repeat_4d(context, apart, keyDim, each, keyHeads * count, 1)
  return ggml.reshape_3d(context, like, keyDim, keyHeads * each, count)
}

interface Gates {
  /** Logarithms of what is kept: f32 [rows, valueHeads]. */
  readonly decay: Pointer
  /** How much of what is new is taken: f32 [rows, valueHeads]. */
  readonly beta: Pointer
}

const gatesOf = ({ ggml, context, weights }: Building, { name }: Delta, x: Pointer): Gates => {
  const product = (part: string): Pointer => ggml.mul_mat(context, weights.get(`${name}.${part}`), x)
  const time = ggml.softplus(context, ggml.add(context, product('a'), weights.get(`${name}.dtBias`)))
  return {
    decay: ggml.mul(context, time, weights.get(`${name}.decay`)),
    beta: ggml.sigmoid(context, product('b')),
  }
}

/** The delta rule over one span: f32 [count, valueHeads * valueDim]. */
const attend = (building: Building, delta: Delta, convolution: Convolved, gates: Gates): Pointer => {
  const { span, x, state } = convolution
  const { ggml, context, graph, rows } = building
  const { mixer, keyHeads, valueHeads } = delta
  const { keyDim, valueDim } = mixer
  const width = valueHeads * valueDim
  const values = ggml.view_3d(
    context,
    x,
    valueDim,
    valueHeads,
    span.count,
    valueDim * f32Bytes,
    channelsOf(delta) * f32Bytes,
    2 * keyHeads * keyDim * f32Bytes,
  )
  const gate = (tensor: Pointer): Pointer => {
    const rowBytes = valueHeads * f32Bytes
    const first = (span.start - rows.first) * rowBytes
    return ggml.view_3d(context, tensor, 1, valueHeads, span.count, f32Bytes, rowBytes, first)
  }
  const queries = units(building, delta, convolution, 0)
  const keys = units(building, delta, convolution, keyHeads)
  const both = ggml.gated_delta_net(context, queries, keys, values, gate(gates.decay), gate(gates.beta), state, 1)
  const after = ggml.view_3d(
    context,
    both,
    keyDim,
    valueDim,
    valueHeads,
    keyDim * f32Bytes,
    keyDim * valueDim * f32Bytes,
    width * span.count * f32Bytes,
  )
  ggml.build_forward_expand(graph, ggml.cpy(context, after, state))
  return ggml.view_2d(context, both, width, span.count, width * f32Bytes, 0)
}

/** Each head normed and opened by its gate: f32 [rows, valueHeads * valueDim]. */
const gated = (building: Building, { mixer, name, valueHeads }: Delta, x: Pointer, out: Pointer): Pointer => {
  const { ggml, context, weights, rows, options } = building
  const { valueDim } = mixer
  const heads = ggml.reshape_3d(context, out, valueDim, valueHeads, rows.count)
  const normed = ggml.mul(
    context,
    ggml.rms_norm(context, heads, options.spec.norm.epsilon),
    weights.get(`${name}.norm`),
  )
  const gate = ggml.mul_mat(context, weights.get(`${name}.z`), x)
  const open = mixer.gate === 'silu' ? ggml.silu(context, gate) : ggml.sigmoid(context, gate)
  return ggml.mul(context, ggml.reshape_2d(context, normed, valueHeads * valueDim, rows.count), open)
}

/** @param x f32 [rows, hidden], normed. @returns own part of o times what the heads give, f32 [rows, hidden] */
export const deltaPart = (building: Building, mixer: DeltaSpec, spans: readonly Span[], x: Pointer): Pointer => {
  const { ggml, context, weights, options, rows, layer } = building
  const ownHeads = keyHeadsOf(options.ranges, mixer)
  const keyHeads = sizeOf(ownHeads)
  const valueHeads = keyHeads * valuesPerKey(mixer)
  const delta: Delta = { mixer, name: `layers.${layer}.delta`, keyHeads, valueHeads }
  const mixed = ggml.mul_mat(context, weights.get(`${delta.name}.qkv`), x)
  const gates = gatesOf(building, delta, x)
  const width = valueHeads * mixer.valueDim
  const joined = joinedSpans(building, spans, width, (span) =>
    attend(building, delta, convolved(building, delta, span, mixed), gates),
  )
  const y = gated(building, delta, x, joined)
  const names = outputNames(`layers.${layer}`, mixer, ownHeads)
  if (names.length === 1) return ggml.mul_mat(context, weights.get(names[0]), y)
  const own = width / names.length
  return names
    .map((name, tile) => {
      const part = ggml.view_2d(context, y, own, rows.count, width * f32Bytes, tile * own * f32Bytes)
      return ggml.mul_mat(context, weights.get(name), ggml.cont(context, part))
    })
    .reduce((sum, part) => ggml.add(context, sum, part))
}
