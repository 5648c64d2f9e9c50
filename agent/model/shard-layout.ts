/**
 * What lies where in a shard file.
 *
 * Tensors in the file (K = input columns, N = output rows; a matrix is stored as rows of its output):
 *
 * | name | f32 | q8, q4 |
 * | --- | --- | --- |
 * | `layers.<l>.attention.norm`, `layers.<l>.mlp.norm`, `head.norm` | f32 [hidden] | the same |
 * | `layers.<l>.attention.qkv`: own q rows, then k, then v; K = hidden | `.w` f32 [N, K] | `.q` u8, `.s` f32 |
 * | `layers.<l>.attention.o`: N = hidden, K = own heads * headDim | `.w` | `.q`, `.s` |
 * | `layers.<l>.mlp.gateUp`: own gate rows, then own up rows; K = hidden | `.w` | `.q`, `.s` |
 * | `layers.<l>.mlp.down`: N = hidden, K = own MLP columns | `.w` | `.q`, `.s` |
 * | `head`: own vocabulary rows; K = hidden | `.w` | `.q`, `.s` |
 *
 * `.q` is u8 [N, blocks, block * bits / 8] and `.s` f32 [N, blocks], symmetric blocks of 32 columns, or of 128 where
 * the backend of the rank is faster on them, as ONNX Runtime's MatMulNBits wants them: value = (code - 8) * scale for 4
 * bits (even column in the low nibble), (code - 128) * scale for 8 bits. Blocks are those of the whole tensor: the first
 * of o and down begins at the multiple of the block at or before the rank's first column, and scales are those of whole
 * blocks, whatever part of them the rank holds; what it does not hold has the zero code. So a weight has the same value
 * however the model is split.
 *
 * Where the bits of the file are kept, every matrix is `.w` in its own type (`shard-types.ts`), [N, K]: q, k and v, gate
 * and up stay apart. Stacks of experts have the rows of all experts, one behind another. Matrices of a rank that holds no heads, no MLP columns or no vocabulary are absent.
 */
import type { Quant } from '../../shared/schema/model.ts'
import type { RankRanges } from '../../shared/schema/ring.ts'
import type { ModelSpec } from './architecture/model-spec.ts'
import { blockSizes, type WeightType } from './architecture/tensor-roles.ts'
import { bitsOf, type BlockColumns, blockColumns } from './quantize.ts'
import { type Fusing, matrixParts, plainParts, storedBlocks } from './shard-parts.ts'
import type { StoredTypes } from './shard-types.ts'

/** Pages of every platform we run on divide this. */
const alignment = 4096

/** One tensor inside a shard file. */
export interface ShardTensor {
  readonly dtype: 'f32' | 'u8' | WeightType
  readonly dims: readonly number[]
  /** Bytes from the start of the weights file; a multiple of 4096, so that it can be memory-mapped. */
  readonly offset: number
  readonly length: number
}

const elementBytes = (dtype: ShardTensor['dtype']): number => {
  if (dtype === 'f32' || dtype === 'u8') return dtype === 'f32' ? 4 : 1
  const { values, bytes } = blockSizes[dtype]
  return bytes / values
}

/** Matrices of a file may be of different types: then each stays for itself. */
export const fusingOf = (quant: Quant): Fusing => (quant === 'file' ? 'separate' : 'fused')

/** What a shard holds, and how. */
export interface ShardContent {
  readonly spec: ModelSpec
  readonly ranges: RankRanges
  readonly quant: Quant
  /** Columns of a block of quantisation; 32 when not given. */
  readonly block?: BlockColumns
  /** Of all matrices, where they keep the bits of their file. */
  readonly types?: StoredTypes
}

const typeIn = (types: StoredTypes | undefined, name: string): WeightType => {
  const type = types?.[name]
  if (type === undefined) throw new Error(`no type for ${name}`)
  return type
}

/** Tensor table of a shard: names, sizes and places follow from its content alone. */
export const layoutShard = ({
  spec,
  ranges,
  quant,
  block = blockColumns,
  types,
}: ShardContent): { readonly tensors: [string, ShardTensor][]; readonly bytes: number } => {
  const tensors: [string, ShardTensor][] = []
  let end = 0
  const add = (name: string, dtype: ShardTensor['dtype'], dims: number[]): void => {
    const offset = Math.ceil(end / alignment) * alignment
    const length = dims.reduce((product, dim) => product * dim, elementBytes(dtype))
    tensors.push([name, { dtype, dims, offset, length }])
    end = offset + length
  }
  for (const { name, dims } of plainParts(spec, ranges)) add(name, 'f32', [...dims])
  for (const part of matrixParts(spec, ranges, fusingOf(quant))) {
    const { name, rows, columns } = part
    if (quant === 'file') add(`${name}.w`, typeIn(types, name), [rows, columns])
    else if (quant === 'f32') add(`${name}.w`, 'f32', [rows, columns])
    else {
      const blocks = storedBlocks(part, block)
      add(`${name}.q`, 'u8', [rows, blocks, (block * bitsOf(quant)) / 8])
      add(`${name}.s`, 'f32', [rows, blocks])
    }
  }
  return { tensors, bytes: end }
}
