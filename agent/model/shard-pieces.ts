/** Tensors of a shard, as rows and columns of canonical ones. */
import { sizeOf } from '../../shared/plan/shard-plan.ts'
import type { Range } from '../../shared/schema/common.ts'
import type { RankRanges } from '../../shared/schema/ring.ts'
import type { ModelSpec } from './architecture/model-spec.ts'

/** What a layer is cut by. */
export interface MixerCut {
  readonly spec: ModelSpec
  readonly ranges: RankRanges
  /** `layers.N` */
  readonly at: string
}

/** Some rows of a tensor, or some of its columns (then all rows). */
export interface Piece {
  readonly role: string
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

/** Numbers of the shard that stay f32: norms, biases, routers. Dims are those in the shard. */
export interface PlainPart {
  readonly name: string
  readonly dims: readonly number[]
  readonly pieces: readonly Piece[]
}

export const scaled = ({ start, end }: Range, factor: number): Range => ({ start: start * factor, end: end * factor })
export const all = (rows: number): Range => ({ start: 0, end: rows })

/** Whole rows, one piece below the other: the matrix is column-parallel. */
export const stacked = (name: string, columns: number, pieces: readonly Piece[]): MatrixPart => ({
  name,
  columns,
  firstColumn: 0,
  pieces,
  rows: pieces.reduce((sum, { rows }) => sum + sizeOf(rows), 0),
})

/** Some columns of all rows: the matrix is row-parallel. */
export const sliced = (name: string, rows: number, columns: Range): MatrixPart => ({
  name,
  columns: sizeOf(columns),
  firstColumn: columns.start,
  pieces: [{ role: name, rows: all(rows), columns }],
  rows,
})

/** Elements of vectors, one behind another. */
export const vector = (name: string, pieces: readonly Piece[]): PlainPart => ({
  name,
  dims: [pieces.reduce((sum, { rows }) => sum + sizeOf(rows), 0)],
  pieces,
})
export const wholeVector = (name: string, length: number): PlainPart =>
  vector(name, [{ role: name, rows: all(length) }])
