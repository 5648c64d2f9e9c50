/** Which rows and columns of which tensors make up each matrix of a shard. */
import { sizeOf } from '../../shared/plan/shard-plan.ts'
import type { Range } from '../../shared/schema/common.ts'
import type { ModelShape } from '../../shared/schema/model.ts'
import type { RankRanges } from '../../shared/schema/ring.ts'
import type { ModelConfig } from './config.ts'
import type { Model } from './model-folder.ts'
import { readColumns, readRows } from './tensor-slice.ts'

/** Some rows of a tensor, or some of its columns (then all rows). */
interface Piece {
  readonly source: string
  readonly rows: Range
  readonly columns?: Range
}

/** A matrix of the shard: pieces one below the other. */
export interface MatrixPart {
  readonly name: string
  readonly rows: number
  readonly columns: number
  /** Where its columns begin in the tensor that they are cut from; 0 where whole rows are. */
  readonly firstColumn: number
  readonly pieces: readonly Piece[]
}

export const normParts = (shape: ModelShape): { readonly name: string; readonly source: string }[] => [
  ...Array.from({ length: shape.layers }, (_, layer) => [
    { name: `layers.${layer}.attention.norm`, source: `model.layers.${layer}.input_layernorm.weight` },
    { name: `layers.${layer}.mlp.norm`, source: `model.layers.${layer}.post_attention_layernorm.weight` },
  ]).flat(),
  { name: 'head.norm', source: 'model.norm.weight' },
]

const scaled = ({ start, end }: Range, factor: number): Range => ({ start: start * factor, end: end * factor })

/** Whole rows, one piece below the other: the matrix is column-parallel. */
const stacked = (name: string, columns: number, pieces: readonly Piece[]): MatrixPart => ({
  name,
  columns,
  firstColumn: 0,
  pieces,
  rows: pieces.reduce((sum, { rows }) => sum + sizeOf(rows), 0),
})

/** Some columns of all rows: the matrix is row-parallel. */
const sliced = (name: string, source: string, rows: Range, columns: Range): MatrixPart => ({
  name,
  columns: sizeOf(columns),
  firstColumn: columns.start,
  pieces: [{ source, rows, columns }],
  rows: sizeOf(rows),
})

/**
 * Columns that are stored before those of the rank where blocks of this width are those of the whole tensor: its first
 * column may lie in the middle of one.
 */
export const leadColumns = (firstColumn: number, block: number): number => firstColumn % block

/** Blocks of a row of the matrix. */
export const storedBlocks = (
  { firstColumn, columns }: Pick<MatrixPart, 'firstColumn' | 'columns'>,
  block: number,
): number => Math.ceil((leadColumns(firstColumn, block) + columns) / block)

/** Matrices of these ranges in the order of use; those that would be empty are left out. */
export const matrixParts = (
  { shape, tiedEmbeddings }: Pick<ModelConfig, 'shape' | 'tiedEmbeddings'>,
  ranges: RankRanges,
): MatrixPart[] => {
  const { hidden, headDim } = shape
  const all: Range = { start: 0, end: hidden }
  const heads = scaled(ranges.heads, headDim)
  const kv = scaled(ranges.kvHeads, headDim)
  const layer = (index: number): MatrixPart[] => {
    const at = `model.layers.${index}`
    const attention = [
      stacked(`layers.${index}.attention.qkv`, hidden, [
        { source: `${at}.self_attn.q_proj.weight`, rows: heads },
        { source: `${at}.self_attn.k_proj.weight`, rows: kv },
        { source: `${at}.self_attn.v_proj.weight`, rows: kv },
      ]),
      sliced(`layers.${index}.attention.o`, `${at}.self_attn.o_proj.weight`, all, heads),
    ]
    const mlp = [
      stacked(`layers.${index}.mlp.gateUp`, hidden, [
        { source: `${at}.mlp.gate_proj.weight`, rows: ranges.ffn },
        { source: `${at}.mlp.up_proj.weight`, rows: ranges.ffn },
      ]),
      sliced(`layers.${index}.mlp.down`, `${at}.mlp.down_proj.weight`, all, ranges.ffn),
    ]
    return [...attention, ...mlp]
  }
  const head = stacked('head', hidden, [
    { source: tiedEmbeddings ? 'model.embed_tokens.weight' : 'lm_head.weight', rows: ranges.vocab },
  ])
  return [...Array.from({ length: shape.layers }, (_, index) => layer(index)).flat(), head].filter(
    ({ rows, columns }) => rows > 0 && columns > 0,
  )
}

/** Rows of a matrix of the shard, and which of their columns are those of the shard. */
export interface PartRows {
  /** f32 [rows, columns] */
  readonly values: Float32Array
  readonly columns: number
  readonly kept: Range
}

/** Rows `start`..`end` - 1 of a matrix of the shard, with all columns of the blocks that its own lie in. */
export const readPart = (
  model: Pick<Model, 'tensor'>,
  part: MatrixPart,
  { start, end }: Range,
  block = 1,
): PartRows => {
  const lead = leadColumns(part.firstColumn, block)
  const kept = { start: lead, end: lead + part.columns }
  const [{ source: first, columns: own }] = part.pieces
  const whole = own && {
    start: own.start - lead,
    end: Math.min(own.start - lead + storedBlocks(part, block) * block, model.tensor(first).dims[1]),
  }
  const columns = whole ? sizeOf(whole) : part.columns
  const values = new Float32Array((end - start) * columns)
  let at = 0
  for (const { source, rows } of part.pieces) {
    const from = Math.max(start, at)
    const to = Math.min(end, at + sizeOf(rows))
    if (from < to) {
      const wanted = { start: rows.start + from - at, end: rows.start + to - at }
      const tensor = model.tensor(source)
      values.set(
        whole ? readColumns(tensor, whole, wanted) : readRows(tensor, wanted.start, wanted.end),
        (from - start) * columns,
      )
    }
    at += sizeOf(rows)
  }
  return { values, columns, kept }
}
