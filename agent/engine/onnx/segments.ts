/**
 * The graphs that one rank runs: per layer an attention half and an MLP half, and the head. One plain graph each, so
 * that a session maps its weights from the shard file once; an all-reduce lies between any two of them.
 *
 * Attention has two forms inside one `If` (the weights stay outside it): many new tokens go through
 * GroupQueryAttention, few through two matrix products against cache and new rows with a mask. On CPU the first is
 * faster from about 24 rows, the second below (it never copies the cache).
 */
import type { ModelShape, Quant } from '../../../shared/schema/model.ts'
import type { RankRanges } from '../../../shared/schema/ring.ts'
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import type { ShardFile } from '../../model/shard-cache.ts'
import { type AttributeValue, constant, encodeModel, external, type Graph, type Initializer, microsoft, type Node, node, value } from './model-proto.ts'

export interface SegmentOptions {
  readonly shape: ModelShape
  readonly ranges: RankRanges
  readonly quant: Quant
  readonly normEpsilon: number
  readonly shard: ShardFile
}

/** GroupQueryAttention wants head sizes that are multiples of this. */
const groupQueryHeadMultiple = 8
/** New rows from which the GroupQueryAttention form is used. */
export const prefillRows = 24

export const hasGroupQuery = (shape: ModelShape): boolean => shape.headDim % groupQueryHeadMultiple === 0

const int64 = (...numbers: number[]): BigInt64Array => BigInt64Array.from(numbers.map(BigInt))
const float = (number: number): AttributeValue => ({ float: number })
const int = (number: number): AttributeValue => ({ int: number })

interface Built {
  readonly nodes: readonly Node[]
  readonly initializers: readonly Initializer[]
}

/** Accuracy level 4: activations are quantised to 8 bits, about three times faster than f32 activations. */
const matMulAccuracy = 4

/** y [.., N] = x [.., K] times the stored matrix [N, K] transposed. */
const matMul = (options: SegmentOptions, { weight, columns }: { weight: string; columns: number }, input: string, output: string): Built => {
  const { shard, quant } = options
  const file = shard.weights.slice(shard.folder.length + 1)
  const load = (suffix: string): Initializer => {
    const tensor = shard.tensors.get(weight + suffix)
    if (!tensor) throw new Error(`shard file lacks ${weight}${suffix}`)
    return external(weight + suffix, tensor.dtype, tensor.dims, { file, offset: tensor.offset, length: tensor.length })
  }
  if (quant === 'f32') {
    return { initializers: [load('.w')], nodes: [microsoft('FusedMatMul', [input, `${weight}.w`], [output], { transB: int(1) })] }
  }
  const codes = load('.q')
  return {
    initializers: [codes, load('.s')],
    nodes: [
      microsoft('MatMulNBits', [input, `${weight}.q`, `${weight}.s`], [output], {
        K: int(columns),
        N: int(codes.dims[0]),
        bits: int(quant === 'q8' ? 8 : 4),
        block_size: int(32),
        accuracy_level: int(matMulAccuracy),
      }),
    ],
  }
}

const norm = (options: SegmentOptions, weight: string, input: string, output: string): Built => {
  const tensor = options.shard.tensors.get(weight)
  if (!tensor) throw new Error(`shard file lacks ${weight}`)
  const file = options.shard.weights.slice(options.shard.folder.length + 1)
  return {
    initializers: [external(weight, 'f32', tensor.dims, { file, offset: tensor.offset, length: tensor.length })],
    nodes: [node('SimplifiedLayerNormalization', [input, weight], [output], { axis: int(-1), epsilon: float(options.normEpsilon) })],
  }
}

/** Scores against cache and new rows, masked, and the weighted values; [1, S, own heads * headDim] into `output`. */
const fewRows = (output: string, scale: number): Node[] => [
  node('Reshape', ['q', 'shapeGroups'], ['q5']), // [1, S, kv, g, hd]
  node('Transpose', ['q5'], ['q5t'], { perm: { ints: [0, 2, 1, 3, 4] } }),
  node('Reshape', ['q5t', 'shapeRows'], ['q4']), // [1, kv, S * g, hd]
  microsoft('FusedMatMul', ['q4', 'kCache'], ['scoresCache'], { transB: int(1), alpha: float(scale) }),
  microsoft('FusedMatMul', ['q4', 'kNew'], ['scoresNew'], { transB: int(1), alpha: float(scale) }),
  node('Concat', ['scoresCache', 'scoresNew'], ['scores'], { axis: int(-1) }),
  node('Add', ['scores', 'mask'], ['scoresMasked']),
  node('Softmax', ['scoresMasked'], ['weights'], { axis: int(-1) }),
  node('Split', ['weights', 'split'], ['weightsCache', 'weightsNew'], { axis: int(-1) }),
  node('MatMul', ['weightsCache', 'vCache'], ['valuesCache']),
  node('MatMul', ['weightsNew', 'vNew'], ['valuesNew']),
  node('Add', ['valuesCache', 'valuesNew'], ['values']),
  node('Reshape', ['values', 'shapeUngroup'], ['values5']), // [1, kv, S, g, hd]
  node('Transpose', ['values5'], ['values5t'], { perm: { ints: [0, 2, 1, 3, 4] } }),
  node('Reshape', ['values5t', 'shapeFlat'], [output]),
]

const attentionCore = (shape: ModelShape, heads: number, kv: number): Node[] => {
  const scale = 1 / Math.sqrt(shape.headDim)
  if (!hasGroupQuery(shape)) return fewRows('attended', scale)
  const flat = ['B', 'S', heads * shape.headDim] as const
  const many: Graph = {
    name: 'manyRows',
    node: [microsoft('GroupQueryAttention', ['q', 'k', 'v', 'kCache', 'vCache', 'lastIndex', 'totalLength'], ['attendedMany', 'kPresent', 'vPresent'], { num_heads: int(heads), kv_num_heads: int(kv), scale: float(scale) })],
    output: [value('attendedMany', 'f32', flat)],
  }
  const few: Graph = { name: 'fewRows', node: fewRows('attendedFew', scale), output: [value('attendedFew', 'f32', flat)] }
  return [node('If', ['isPrefill'], ['attended'], { then_branch: { graph: many }, else_branch: { graph: few } })]
}

/**
 * Attention half of a layer for one sequence.
 * in: x f32 [1, S, hidden], positions i64 [1, S], cos and sin f32 [M, headDim / 2] (M above every position), kCache and vCache f32 [1, kv, capacity, headDim], mask f32
 * [1, 1, S * g, capacity + S], split i64 [2] = [capacity, S], and for GroupQueryAttention lastIndex i32 [1] (position
 * of the last new row), totalLength i32 [1], isPrefill bool [1].
 * out: y f32 [1, S, hidden] (this rank's part), kNew and vNew f32 [1, kv, S, headDim].
 */
export const attentionSegment = (options: SegmentOptions, layer: number): Uint8Array => {
  const { shape, ranges } = options
  const heads = sizeOf(ranges.heads)
  const kv = sizeOf(ranges.kvHeads)
  const hd = shape.headDim
  const name = `layers.${layer}.attention`
  const normed = norm(options, `${name}.norm`, 'x', 'normed')
  const qkv = matMul(options, { weight: `${name}.qkv`, columns: shape.hidden }, 'normed', 'qkv')
  const o = matMul(options, { weight: `${name}.o`, columns: heads * hd }, 'attended', 'y')
  const few = hasGroupQuery(shape) ? [value('lastIndex', 'i32', [1]), value('totalLength', 'i32', [1]), value('isPrefill', 'bool', [1])] : []
  return encodeModel({
    name,
    initializer: [
      ...normed.initializers, ...qkv.initializers, ...o.initializers,
      constant('splitQkV', 'i64', [2], int64((heads + kv) * hd, kv * hd)),
      constant('splitQK', 'i64', [2], int64(heads * hd, kv * hd)),
      constant('shapeKv', 'i64', [4], int64(0, 0, kv, hd)),
      constant('shapeGroups', 'i64', [5], int64(0, 0, kv, heads / kv, hd)),
      constant('shapeRows', 'i64', [4], int64(0, kv, -1, hd)),
      constant('shapeUngroup', 'i64', [5], int64(0, kv, -1, heads / kv, hd)),
      constant('shapeFlat', 'i64', [3], int64(0, -1, heads * hd)),
    ],
    input: [
      value('x', 'f32', ['B', 'S', shape.hidden]), value('positions', 'i64', ['B', 'S']),
      value('cos', 'f32', ['M', hd / 2]), value('sin', 'f32', ['M', hd / 2]),
      value('kCache', 'f32', ['B', kv, 'C', hd]), value('vCache', 'f32', ['B', kv, 'C', hd]),
      value('mask', 'f32', [1, 1, 'SG', 'CS']), value('split', 'i64', [2]), ...few,
    ],
    output: [value('y', 'f32', ['B', 'S', shape.hidden]), value('kNew', 'f32', ['B', kv, 'S', hd]), value('vNew', 'f32', ['B', kv, 'S', hd])],
    node: [
      ...normed.nodes, ...qkv.nodes,
      node('Split', ['qkv', 'splitQkV'], ['qk', 'v'], { axis: int(-1) }),
      microsoft('RotaryEmbedding', ['qk', 'positions', 'cos', 'sin'], ['qkRotated']), // q and k in one call
      node('Split', ['qkRotated', 'splitQK'], ['q', 'k'], { axis: int(-1) }),
      node('Reshape', ['k', 'shapeKv'], ['k4']),
      node('Transpose', ['k4'], ['kNew'], { perm: { ints: [0, 2, 1, 3] } }),
      node('Reshape', ['v', 'shapeKv'], ['v4']),
      node('Transpose', ['v4'], ['vNew'], { perm: { ints: [0, 2, 1, 3] } }),
      ...attentionCore(shape, heads, kv), ...o.nodes,
    ],
  })
}

/** MLP half. in: x f32 [1, R, hidden]. out: y f32 [1, R, hidden], this rank's part of down(silu(gate) * up). */
export const mlpSegment = (options: SegmentOptions, layer: number): Uint8Array => {
  const columns = sizeOf(options.ranges.ffn)
  const name = `layers.${layer}.mlp`
  const normed = norm(options, `${name}.norm`, 'x', 'normed')
  const gateUp = matMul(options, { weight: `${name}.gateUp`, columns: options.shape.hidden }, 'normed', 'gateUp')
  const down = matMul(options, { weight: `${name}.down`, columns }, 'activated', 'y')
  return encodeModel({
    name,
    initializer: [...normed.initializers, ...gateUp.initializers, ...down.initializers, constant('halves', 'i64', [2], int64(columns, columns))],
    input: [value('x', 'f32', ['B', 'R', options.shape.hidden])],
    output: [value('y', 'f32', ['B', 'R', options.shape.hidden])],
    node: [
      ...normed.nodes, ...gateUp.nodes,
      node('Split', ['gateUp', 'halves'], ['gate', 'up'], { axis: int(-1) }),
      node('Sigmoid', ['gate'], ['sigmoid']),
      node('Mul', ['gate', 'sigmoid'], ['silu']),
      node('Mul', ['silu', 'up'], ['activated']),
      ...down.nodes,
    ],
  })
}

/** Final norm and own rows of the LM head. in: x f32 [1, R, hidden]. out: y f32 [1, R, own vocabulary columns]. */
export const headSegment = (options: SegmentOptions): Uint8Array => {
  const normed = norm(options, 'head.norm', 'x', 'normed')
  const head = matMul(options, { weight: 'head', columns: options.shape.hidden }, 'normed', 'y')
  return encodeModel({
    name: 'head',
    initializer: [...normed.initializers, ...head.initializers],
    input: [value('x', 'f32', ['B', 'R', options.shape.hidden])],
    output: [value('y', 'f32', ['B', 'R', sizeOf(options.ranges.vocab)])],
    node: [...normed.nodes, ...head.nodes],
  })
}
