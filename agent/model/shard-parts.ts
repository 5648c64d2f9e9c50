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

const stacked = (name: string, columns: number, pieces: readonly Piece[]): MatrixPart => ({ name, columns, pieces, rows: pieces.reduce((sum, { rows }) => sum + sizeOf(rows), 0) })

/** Matrices of these ranges in the order of use; those that would be empty are left out. */
export const matrixParts = ({ shape, tiedEmbeddings }: Pick<ModelConfig, 'shape' | 'tiedEmbeddings'>, ranges: RankRanges): MatrixPart[] => {
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
      stacked(`layers.${index}.attention.o`, sizeOf(heads), [{ source: `${at}.self_attn.o_proj.weight`, rows: all, columns: heads }]),
    ]
    const mlp = [
      stacked(`layers.${index}.mlp.gateUp`, hidden, [
        { source: `${at}.mlp.gate_proj.weight`, rows: ranges.ffn },
        { source: `${at}.mlp.up_proj.weight`, rows: ranges.ffn },
      ]),
      stacked(`layers.${index}.mlp.down`, sizeOf(ranges.ffn), [{ source: `${at}.mlp.down_proj.weight`, rows: all, columns: ranges.ffn }]),
    ]
    return [...attention, ...mlp]
  }
  const head = stacked('head', hidden, [{ source: tiedEmbeddings ? 'model.embed_tokens.weight' : 'lm_head.weight', rows: ranges.vocab }])
  return [...Array.from({ length: shape.layers }, (_, index) => layer(index)).flat(), head].filter(({ rows, columns }) => rows > 0 && columns > 0)
}

/** Rows `start`..`end` - 1 of a matrix of the shard: f32 [end - start, columns]. */
export const readPart = (model: Pick<Model, 'tensor'>, part: MatrixPart, start: number, end: number): Float32Array => {
  const out = new Float32Array((end - start) * part.columns)
  let first = 0
  for (const { source, rows, columns } of part.pieces) {
    const from = Math.max(start, first)
    const to = Math.min(end, first + sizeOf(rows))
    if (from < to) {
      const wanted = { start: rows.start + from - first, end: rows.start + to - first }
      const tensor = model.tensor(source)
      out.set(columns ? readColumns(tensor, columns, wanted) : readRows(tensor, wanted.start, wanted.end), (from - start) * part.columns)
    }
    first += sizeOf(rows)
  }
  return out
}
