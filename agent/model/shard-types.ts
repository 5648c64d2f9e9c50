/**
 * In which type a matrix of a shard is stored that keeps the bits of its file. Rows are cut as they are, columns at the
 * borders of blocks; where a cut lies inside of a block of 256, the matrix gets blocks of 32 with the same codes.
 */
import type { Range } from '../../shared/schema/common.ts'
import type { RankRanges } from '../../shared/schema/ring.ts'
import type { ModelSpec } from './architecture/model-spec.ts'
import { blockSizes, type Roles, type RoleTensor, rowBytes, type WeightType } from './architecture/tensor-roles.ts'
import { isReblocked, reblock, reblockedTypes } from './blocks/reblock.ts'
import { type MatrixPart, matrixParts, piecesWithin, readPart } from './shard-parts.ts'
import { copyColumns } from './tensor-slice.ts'

/** Type of each matrix of a shard, by its name. */
export type StoredTypes = Readonly<Record<string, WeightType>>

const fits = ({ firstColumn, columns }: MatrixPart, type: WeightType): boolean => {
  const { values } = blockSizes[type]
  return firstColumn % values === 0 && columns % values === 0
}

/** As near to the type of the file as the cut allows; F32 where no block of the file can be cut there. */
const storedType = (part: MatrixPart, type: WeightType): WeightType => {
  if (fits(part, type)) return type
  return isReblocked(type) && fits(part, reblockedTypes[type]) ? reblockedTypes[type] : 'F32'
}

/** Where types of tensors are asked for, and nothing of their values. */
interface RoleTypes {
  role(name: string): Pick<RoleTensor, 'type'>
}

export const storedTypes = (spec: ModelSpec, ranges: RankRanges, roles: RoleTypes): StoredTypes =>
  Object.fromEntries(
    matrixParts(spec, ranges, 'separate').map((part) => [
      part.name,
      storedType(part, roles.role(part.pieces[0].role).type),
    ]),
  )

/** Some columns of rows of blocks. @param columns whole blocks */
const sliceColumns = (bytes: Uint8Array, type: WeightType, width: number, columns: Range): Uint8Array => {
  const all = rowBytes(type, width)
  const own = { start: rowBytes(type, columns.start), end: rowBytes(type, columns.end) }
  const into = new Uint8Array((bytes.length / all) * (own.end - own.start))
  copyColumns(bytes, all, own, into)
  return into
}

/** Rows of a tensor of a file in the type that they are stored in. */
const rowsAs = (tensor: RoleTensor, { start, end }: Range, type: WeightType): Uint8Array => {
  const bytes = tensor.readBytes(start, end)
  return tensor.type !== type && isReblocked(tensor.type) ? reblock(tensor.type, bytes) : bytes
}

/** Rows `start`..`end` - 1 of a matrix of the shard, as bytes of the type that it is stored in. */
export const readKept = (roles: Roles, part: MatrixPart, range: Range, type: WeightType): Uint8Array => {
  const tensor = roles.role(part.pieces[0].role)
  if (type === 'F32' && tensor.type !== 'F32') {
    const { values } = readPart(roles, part, range)
    return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  }
  const into = new Uint8Array((range.end - range.start) * rowBytes(type, part.columns))
  for (const { piece, rows, before } of piecesWithin(part.pieces, range)) {
    const bytes = rowsAs(roles.role(piece.role), rows, type)
    const own = piece.columns ? sliceColumns(bytes, type, tensor.columns, piece.columns) : bytes
    into.set(own, before * rowBytes(type, part.columns))
  }
  return into
}
