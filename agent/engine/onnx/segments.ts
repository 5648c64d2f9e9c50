/**
 * The graphs that one rank runs. With weights, so that a session maps them from the shard file once: per layer the
 * projections q, k, v, then o, then the MLP half; and the head. They run once over all rows of a step. Without weights,
 * shared by all layers and run per sequence: attention over the cache, in two forms. Many new rows go through
 * GroupQueryAttention, which copies the cache; few through two matrix products with a mask, which do not.
 */
import type { ModelSpec } from '../../model/architecture/model-spec.ts'
import type { ModelShape, Quant } from '../../../shared/schema/model.ts'
import type { RankRanges } from '../../../shared/schema/ring.ts'
import { sizeOf } from '../../../shared/plan/shard-plan.ts'
import { bitsOf } from '../../model/quantize.ts'
import type { ShardFile } from '../../model/shard-cache.ts'
import { leadColumns } from '../../model/shard-parts.ts'
import type { CacheType } from './kv-cache.ts'
import {
  type AttributeValue,
  constant,
  type ElementType,
  elementTypes,
  encodeModel,
  external,
  type Initializer,
  microsoft,
  type Node,
  node,
  value,
} from './model-proto.ts'

export interface SegmentOptions {
  readonly shape: ModelShape
  readonly ranges: RankRanges
  readonly quant: Quant
  readonly spec: ModelSpec
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

interface MatMul {
  readonly weight: string
  /** K. */
  readonly columns: number
  /** Where they begin in the tensor that they were cut from. */
  readonly firstColumn?: number
}

/** y [.., N] = x [.., K] times the stored matrix [N, K] transposed; x has three dimensions. */
const matMul = (
  options: SegmentOptions,
  { weight, columns, firstColumn = 0 }: MatMul,
  input: string,
  output: string,
): Built => {
  const { shard, quant } = options
  const file = shard.weights.slice(shard.folder.length + 1)
  const load = (suffix: string): Initializer => {
    const tensor = shard.tensors.get(weight + suffix)
    if (!tensor) throw new Error(`shard file lacks ${weight}${suffix}`)
    if (tensor.dtype !== 'f32' && tensor.dtype !== 'u8') throw new Error(`${weight} is in ${tensor.dtype}`)
    return external(weight + suffix, tensor.dtype, tensor.dims, { file, offset: tensor.offset, length: tensor.length })
  }
  if (quant === 'f32') {
    return {
      initializers: [load('.w')],
      nodes: [microsoft('FusedMatMul', [input, `${weight}.w`], [output], { transB: int(1) })],
    }
  }
  const codes = load('.q')
  const bits = bitsOf(quant)
  const block = (codes.dims[2] * 8) / bits
  const lead = leadColumns(firstColumn, block)
  const widened = lead > 0 ? `${input}.widened` : input
  return {
    initializers: [
      codes,
      load('.s'),
      ...(lead > 0 ? [constant(`${input}.lead`, 'i64', [6], int64(0, 0, lead, 0, 0, 0))] : []),
    ],
    nodes: [
      // blocks are those of the whole tensor: the columns before ours are another rank's, and zeros here
      ...(lead > 0 ? [node('Pad', [input, `${input}.lead`], [widened])] : []),
      microsoft('MatMulNBits', [widened, `${weight}.q`, `${weight}.s`], [output], {
        K: int(lead + columns),
        N: int(codes.dims[0]),
        bits: int(bits),
        block_size: int(block),
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
    nodes: [
      node('SimplifiedLayerNormalization', [input, weight], [output], {
        axis: int(-1),
        epsilon: float(options.spec.norm.epsilon),
      }),
    ],
  }
}

/** f16 holds what 8-bit or 4-bit weights give; exact weights get an exact cache. */
export const cacheTypeOf = (quant: Quant): CacheType => (quant === 'f32' ? 'f32' : 'f16')

/** `output` = `input` in the other type, or nothing to do where the cache is exact. */
const converted = (type: CacheType, to: ElementType, input: string, output: string): Node =>
  type === 'f32' ? node('Identity', [input], [output]) : node('Cast', [input], [output], { to: int(elementTypes[to]) })

/**
 * Norm, own rows of q, k and v, and rotation of q and k.
 * in: x f32 [1, R, hidden], positions i64 [1, R], cos and sin f32 [M, headDim / 2] (M above every position).
 * out: q f32 [1, R, own heads * headDim], k and v as the cache [1, R, own kvHeads * headDim].
 */
export const projectionSegment = (options: SegmentOptions, layer: number): Uint8Array => {
  const { shape, ranges } = options
  const heads = sizeOf(ranges.heads)
  const kv = sizeOf(ranges.kvHeads)
  const hd = shape.headDim
  const type = cacheTypeOf(options.quant)
  const name = `layers.${layer}.attention`
  const normed = norm(options, `${name}.norm`, 'x', 'normed')
  const qkv = matMul(options, { weight: `${name}.qkv`, columns: shape.hidden }, 'normed', 'qkv')
  return encodeModel({
    name: `${name}.qkv`,
    initializer: [
      ...normed.initializers,
      ...qkv.initializers,
      constant('splitQkV', 'i64', [2], int64((heads + kv) * hd, kv * hd)),
      constant('splitQK', 'i64', [2], int64(heads * hd, kv * hd)),
    ],
    input: [
      value('x', 'f32', [1, 'R', shape.hidden]),
      value('positions', 'i64', [1, 'R']),
      value('cos', 'f32', ['M', hd / 2]),
      value('sin', 'f32', ['M', hd / 2]),
    ],
    output: [
      value('q', 'f32', [1, 'R', heads * hd]),
      value('k', type, [1, 'R', kv * hd]),
      value('v', type, [1, 'R', kv * hd]),
    ],
    node: [
      ...normed.nodes,
      ...qkv.nodes,
      node('Split', ['qkv', 'splitQkV'], ['qk', 'vFull'], { axis: int(-1) }),
      microsoft('RotaryEmbedding', ['qk', 'positions', 'cos', 'sin'], ['qkRotated']), // q and k in one call
      node('Split', ['qkRotated', 'splitQK'], ['q', 'kFull'], { axis: int(-1) }),
      converted(type, 'f16', 'kFull', 'k'),
      converted(type, 'f16', 'vFull', 'v'),
    ],
  })
}

/** Own columns of o. in: x f32 [1, R, own heads * headDim]. out: y f32 [1, R, hidden], this rank's part. */
export const outputSegment = (options: SegmentOptions, layer: number): Uint8Array => {
  const columns = sizeOf(options.ranges.heads) * options.shape.headDim
  const firstColumn = options.ranges.heads.start * options.shape.headDim
  const name = `layers.${layer}.attention.o`
  const o = matMul(options, { weight: name, columns, firstColumn }, 'x', 'y')
  return encodeModel({
    name,
    initializer: o.initializers,
    input: [value('x', 'f32', [1, 'R', columns])],
    output: [value('y', 'f32', [1, 'R', options.shape.hidden])],
    node: o.nodes,
  })
}

/** Sizes that both forms of attention share. */
const attentionSizes = ({ shape, ranges, quant }: SegmentOptions) => {
  const heads = sizeOf(ranges.heads)
  const kv = sizeOf(ranges.kvHeads)
  const hd = shape.headDim
  const type = cacheTypeOf(quant)
  return {
    heads,
    kv,
    hd,
    type,
    scale: float(1 / Math.sqrt(hd)),
    cache: [value('kCache', type, [1, kv, 'T', hd]), value('vCache', type, [1, kv, 'T', hd])],
    widened: [converted(type, 'f32', 'kCache', 'keys'), converted(type, 'f32', 'vCache', 'values')],
    q: value('q', 'f32', [1, 'S', heads * hd]),
    y: value('y', 'f32', [1, 'S', heads * hd]),
  }
}

/**
 * Attention of few rows of one sequence over its cache, which holds those rows already.
 * in: q f32 [1, S, own heads * headDim], kCache and vCache [1, kv, T, headDim], mask f32 [1, 1, M, T], M = S * g or, the
 * same for all heads of one row, 1; g query heads to a key/value head.
 * out: y f32 [1, S, own heads * headDim].
 */
export const fewRowsSegment = (options: SegmentOptions): Uint8Array => {
  const { heads, kv, hd, scale, cache, widened, q, y } = attentionSizes(options)
  return encodeModel({
    name: 'fewRows',
    initializer: [
      constant('shapeGroups', 'i64', [5], int64(0, 0, kv, heads / kv, hd)),
      constant('shapeRows', 'i64', [4], int64(0, kv, -1, hd)),
      constant('shapeUngroup', 'i64', [5], int64(0, kv, -1, heads / kv, hd)),
      constant('shapeFlat', 'i64', [3], int64(0, -1, heads * hd)),
    ],
    input: [q, ...cache, value('mask', 'f32', [1, 1, 'M', 'T'])],
    output: [y],
    node: [
      ...widened,
      node('Reshape', ['q', 'shapeGroups'], ['q5']), // [1, S, kv, g, hd]
      node('Transpose', ['q5'], ['q5t'], { perm: { ints: [0, 2, 1, 3, 4] } }),
      node('Reshape', ['q5t', 'shapeRows'], ['q4']), // [1, kv, S * g, hd]
      microsoft('FusedMatMul', ['q4', 'keys'], ['scores'], { transB: int(1), alpha: scale }),
      node('Add', ['scores', 'mask'], ['scoresMasked']),
      node('Softmax', ['scoresMasked'], ['weights'], { axis: int(-1) }),
      node('MatMul', ['weights', 'values'], ['attended']),
      node('Reshape', ['attended', 'shapeUngroup'], ['attended5']), // [1, kv, S, g, hd]
      node('Transpose', ['attended5'], ['attended5t'], { perm: { ints: [0, 2, 1, 3, 4] } }),
      node('Reshape', ['attended5t', 'shapeFlat'], ['y']),
    ],
  })
}

/**
 * Attention of many rows of one sequence.
 * in: as `fewRowsSegment` without mask; k and v of the new rows [1, S, own kvHeads * headDim], lastIndex i32 [1]
 * (position of the last new row), totalLength i32 [1].
 */
export const manyRowsSegment = (options: SegmentOptions): Uint8Array => {
  const { heads, kv, hd, type, scale, cache, widened, q, y } = attentionSizes(options)
  return encodeModel({
    name: 'manyRows',
    input: [
      q,
      value('k', type, [1, 'S', kv * hd]),
      value('v', type, [1, 'S', kv * hd]),
      ...cache,
      value('lastIndex', 'i32', [1]),
      value('totalLength', 'i32', [1]),
    ],
    output: [y],
    node: [
      ...widened,
      converted(type, 'f32', 'k', 'kFull'),
      converted(type, 'f32', 'v', 'vFull'),
      microsoft(
        'GroupQueryAttention',
        ['q', 'kFull', 'vFull', 'keys', 'values', 'lastIndex', 'totalLength'],
        ['y', 'kPresent', 'vPresent'],
        { num_heads: int(heads), kv_num_heads: int(kv), scale },
      ),
    ],
  })
}

/** MLP half. in: x f32 [1, R, hidden]. out: y f32 [1, R, hidden], this rank's part of down(silu(gate) * up). */
export const mlpSegment = (options: SegmentOptions, layer: number): Uint8Array => {
  const columns = sizeOf(options.ranges.ffn)
  const name = `layers.${layer}.mlp`
  const normed = norm(options, `${name}.norm`, 'x', 'normed')
  const gateUp = matMul(options, { weight: `${name}.gateUp`, columns: options.shape.hidden }, 'normed', 'gateUp')
  const down = matMul(
    options,
    { weight: `${name}.down`, columns, firstColumn: options.ranges.ffn.start },
    'activated',
    'y',
  )
  return encodeModel({
    name,
    initializer: [
      ...normed.initializers,
      ...gateUp.initializers,
      ...down.initializers,
      constant('halves', 'i64', [2], int64(columns, columns)),
    ],
    input: [value('x', 'f32', ['B', 'R', options.shape.hidden])],
    output: [value('y', 'f32', ['B', 'R', options.shape.hidden])],
    node: [
      ...normed.nodes,
      ...gateUp.nodes,
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
