/**
 * Parts of tensors as files have them, read by byte range in bounded pieces: as f32, or as the bytes of their blocks.
 *
 * A tensor is taken for a matrix: its last dimension are the columns, all others together the rows (those of expert 0,
 * then of expert 1, ...). A vector has one row per element and one column.
 */
import { MeshError } from '../../shared/errors.ts'
import type { Range } from '../../shared/schema/common.ts'
import type { WeightType } from './architecture/tensor-roles.ts'
import { bytesOfValues, isWeightType, type WeightFormat, weightFormats } from './blocks/formats.ts'
import type { TensorInfo } from './tensor-file.ts'

/** Bytes read at once: large enough for the disk, small beside any shard. */
const pieceBytes = 8 * 2 ** 20

/** @throws MeshError `dtypeUnsupported` */
export const weightTypeOf = ({ name, dtype }: Pick<TensorInfo, 'name' | 'dtype'>): WeightType => {
  if (!isWeightType(dtype)) throw new MeshError('dtypeUnsupported', { tensor: name, dtype })
  return dtype
}

export interface MatrixSize {
  readonly rows: number
  readonly columns: number
}

export const sizeOfTensor = ({ dims }: Pick<TensorInfo, 'dims'>): MatrixSize =>
  dims.length < 2
    ? { rows: dims[0] ?? 1, columns: 1 }
    : { rows: dims.slice(0, -1).reduce((product, dim) => product * dim, 1), columns: dims[dims.length - 1] }

const checkRange = (name: string, what: string, { start, end }: Range, size: number): void => {
  if (!(start >= 0 && end >= start && end <= size))
    throw new RangeError(`${what} ${start}..${end} of ${name}, which has ${size}`)
}

/**
 * Some elements of each row, those of each row one behind the other.
 * @param whole rows of `all` elements
 */
export const copyColumns = <Elements extends Float32Array | Uint8Array>(
  whole: Elements,
  all: number,
  { start, end }: Range,
  into: Elements,
): void => {
  const width = end - start
  for (let row = 0; row * all < whole.length; row++)
    into.set(whole.subarray(row * all + start, row * all + end), row * width)
}

/** Elements `first`..`last` - 1 of a tensor, with the blocks that they lie in. */
const readElements = (tensor: TensorInfo, format: WeightFormat, { start, end }: Range, into: Float32Array): void => {
  const { values, bytes: size, decode } = format
  const [firstBlock, lastBlock] = [Math.floor(start / values), Math.ceil(end / values)]
  const atOnce = Math.max(1, Math.floor(pieceBytes / size))
  const buffer = new Uint8Array(Math.min(atOnce, lastBlock - firstBlock) * size)
  for (let block = firstBlock; block < lastBlock; block += atOnce) {
    const count = Math.min(atOnce, lastBlock - block)
    const bytes = buffer.subarray(0, count * size)
    tensor.file.read(bytes, tensor.start + block * size)
    const [from, to] = [block * values, (block + count) * values]
    if (from >= start && to <= end) {
      decode(bytes, into.subarray(from - start, to - start))
      continue
    }
    const whole = new Float32Array(to - from)
    decode(bytes, whole)
    const [first, last] = [Math.max(from, start), Math.min(to, end)]
    into.set(whole.subarray(first - from, last - from), first - start)
  }
}

/**
 * Rows `start`..`end` - 1 of a tensor of any type of `weightFormats`.
 * @returns f32 [end - start, columns]
 * @throws MeshError `dtypeUnsupported` | those of reading the file
 */
export const readRows = (tensor: TensorInfo, start: number, end: number): Float32Array => {
  const format = weightFormats[weightTypeOf(tensor)]
  const { rows, columns } = sizeOfTensor(tensor)
  checkRange(tensor.name, 'rows', { start, end }, rows)
  const out = new Float32Array((end - start) * columns)
  readElements(tensor, format, { start: start * columns, end: end * columns }, out)
  return out
}

/**
 * Columns `start`..`end` - 1 of rows `rows.start`..`rows.end` - 1; they may begin and end inside blocks.
 * @returns f32 [rows, columns]
 */
export const readColumns = (tensor: TensorInfo, columns: Range, rows: Range): Float32Array => {
  const { columns: all } = sizeOfTensor(tensor)
  checkRange(tensor.name, 'columns', columns, all)
  const width = columns.end - columns.start
  const out = new Float32Array((rows.end - rows.start) * width)
  const rowsAtOnce = Math.max(1, Math.floor(pieceBytes / 4 / all))
  for (let row = rows.start; row < rows.end; row += rowsAtOnce) {
    const last = Math.min(rows.end, row + rowsAtOnce)
    copyColumns(readRows(tensor, row, last), all, columns, out.subarray((row - rows.start) * width))
  }
  return out
}

/**
 * Bytes of rows `start`..`end` - 1 as they lie in the file: the blocks of a row one behind the other, row after row.
 * @throws MeshError `dtypeUnsupported` | those of reading the file
 */
export const readRowBytes = (tensor: TensorInfo, start: number, end: number): Uint8Array => {
  const type = weightTypeOf(tensor)
  const { rows, columns } = sizeOfTensor(tensor)
  checkRange(tensor.name, 'rows', { start, end }, rows)
  const rowBytes = bytesOfValues(type, columns)
  if (!Number.isInteger(rowBytes))
    throw new RangeError(`rows of ${tensor.name} have ${columns} columns, no whole blocks of ${type}`)
  const bytes = new Uint8Array((end - start) * rowBytes)
  tensor.file.read(bytes, tensor.start + start * rowBytes)
  return bytes
}

/**
 * Bytes of some columns of some rows: those columns of each row one behind the other.
 * @param columns begin and end where blocks do
 */
export const readColumnBytes = (tensor: TensorInfo, columns: Range, rows: Range): Uint8Array => {
  const type = weightTypeOf(tensor)
  const { values } = weightFormats[type]
  const { columns: all } = sizeOfTensor(tensor)
  checkRange(tensor.name, 'columns', columns, all)
  if (columns.start % values !== 0 || columns.end % values !== 0)
    throw new RangeError(`columns ${columns.start}..${columns.end} of ${tensor.name} cut blocks of ${values} (${type})`)
  const own = { start: bytesOfValues(type, columns.start), end: bytesOfValues(type, columns.end) }
  const width = own.end - own.start
  const rowBytes = bytesOfValues(type, all)
  const out = new Uint8Array((rows.end - rows.start) * width)
  const rowsAtOnce = Math.max(1, Math.floor(pieceBytes / rowBytes))
  for (let row = rows.start; row < rows.end; row += rowsAtOnce) {
    const last = Math.min(rows.end, row + rowsAtOnce)
    copyColumns(readRowBytes(tensor, row, last), rowBytes, own, out.subarray((row - rows.start) * width))
  }
  return out
}

/**
 * Bytes of rows `start`..`end` - 1 of a tensor of elements of `width` bytes, whatever they mean.
 * @throws those of reading the file
 */
export const readRawRows = (tensor: TensorInfo, width: number, start: number, end: number): Uint8Array => {
  const { rows, columns } = sizeOfTensor(tensor)
  checkRange(tensor.name, 'rows', { start, end }, rows)
  const bytes = new Uint8Array((end - start) * columns * width)
  tensor.file.read(bytes, tensor.start + start * columns * width)
  return bytes
}

/** Bytes of some columns of all rows, those of each row one behind the other. */
export const readRawColumns = (tensor: TensorInfo, width: number, { start, end }: Range): Uint8Array => {
  const { rows, columns } = sizeOfTensor(tensor)
  checkRange(tensor.name, 'columns', { start, end }, columns)
  if (start === 0 && end === columns) return readRawRows(tensor, width, 0, rows)
  const rowBytes = (end - start) * width
  const bytes = new Uint8Array(rows * rowBytes)
  for (let row = 0; row < rows; row++)
    tensor.file.read(
      bytes.subarray(row * rowBytes, (row + 1) * rowBytes),
      tensor.start + (row * columns + start) * width,
    )
  return bytes
}
