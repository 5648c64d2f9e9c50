/** Own columns of the MLPs of a layer: one that every row goes through, and experts. */
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import type { ExpertsSpec, FeedForwardSpec } from '../../model/architecture/model-spec.ts'
import { columnsOf } from '../../model/shard-ranges.ts'
import { activated } from './activation.ts'
import { type Pointer, types } from './library.ts'
import { type Building, f32Bytes, projected } from './parts.ts'

/** down(activation(gate x) * up x) of own columns, f32 [rows, hidden]. */
const dense = (building: Building, { activation, gated }: FeedForwardSpec, name: string, x: Pointer): Pointer => {
  const { ggml, context } = building
  const gate = gated ? projected(building, `${name}.gate`, x) : undefined
  const up = projected(building, `${name}.up`, x)
  return projected(building, `${name}.down`, activated(ggml, context, activation, { gate, up }))
}

/** The expert that every row goes through, times a factor of its own where it has one. */
const shared = (building: Building, spec: FeedForwardSpec, name: string, x: Pointer): Pointer => {
  const { ggml, weights, context } = building
  const y = dense(building, spec, name, x)
  if (!spec.experts?.shared?.gated) return y
  return ggml.mul(context, y, ggml.sigmoid(context, ggml.mul_mat(context, weights.get(`${name}.scale`), x)))
}

/** Own columns of the experts that were chosen for each row, times their weights, summed: f32 [rows, hidden]. */
const chosenExperts = (
  building: Building,
  { activation, gated }: FeedForwardSpec,
  { used, weightOnInput }: ExpertsSpec,
  { name, x }: { readonly name: string; readonly x: Pointer },
): Pointer => {
  const { ggml, weights, context, io, rows, options, graph } = building
  const { hidden } = options.spec
  const ids = ggml.new_tensor_2d(context, types.i32, used, rows.count)
  io.placeChoice(ids, rows.first)
  const factors = ggml.new_tensor_3d(context, types.f32, 1, used, rows.count)
  io.placeFactors(factors, rows.first)
  const plain = ggml.reshape_3d(context, x, hidden, 1, rows.count)
  const input = weightOnInput
    ? ggml.mul(context, ggml.repeat_4d(context, plain, hidden, used, rows.count, 1), factors)
    : plain
  const product = (part: string, from: Pointer): Pointer => {
    const y = ggml.mul_mat_id(context, weights.get(`${name}.${part}`), from, ids)
    const bias = `${name}.${part}.bias`
    return weights.has(bias) ? ggml.add_id(context, y, weights.get(bias), ids) : y
  }
  const gate = gated ? product('gate', input) : undefined
  const y = product('down', activated(ggml, context, activation, { gate, up: product('up', input) }))
  const weighted = weightOnInput ? y : ggml.mul(context, y, factors) // [hidden, used, rows]
  const rowBytes = used * hidden * f32Bytes
  const one = (index: number): Pointer =>
    ggml.view_2d(context, weighted, hidden, rows.count, rowBytes, index * hidden * f32Bytes)
  ggml.build_forward_expand(graph, weighted)
  let sum = one(0)
  for (let index = 1; index < used; index++) sum = ggml.add(context, sum, one(index))
  return used === 1 ? ggml.cont(context, sum) : sum
}

/** True where this rank holds columns of MLPs of that width. */
const holds = ({ spec, ranges }: Building['options'], width: number | undefined): boolean =>
  width !== undefined && sizeOf(columnsOf(spec, ranges, width)) > 0

/** True where this rank has something to add in that layer. */
export const holdsMlp = (options: Building['options'], { dense: whole, experts }: FeedForwardSpec): boolean =>
  [whole?.ffn, experts?.ffn, experts?.shared?.ffn].some((width) => holds(options, width))

/** @param x f32 [rows, hidden], normed. @returns own part of the MLP, f32 [rows, hidden] */
export const mlpPart = (building: Building, spec: FeedForwardSpec, x: Pointer): Pointer => {
  const { ggml, context, options } = building
  const name = `layers.${building.layer}.mlp`
  const { experts } = spec
  const sums = [
    ...(holds(options, spec.dense?.ffn) ? [dense(building, spec, name, x)] : []),
    ...(experts && holds(options, experts.ffn)
      ? [chosenExperts(building, spec, experts, { name: `${name}.experts`, x })]
      : []),
    ...(holds(options, experts?.shared?.ffn) ? [shared(building, spec, `${name}.shared`, x)] : []),
  ]
  return sums.reduce((sum, part) => ggml.add(context, sum, part))
}
