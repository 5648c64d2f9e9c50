/** Parts of a matrix as f32, read by byte range in bounded pieces. */
import { MeshError } from '../../shared/errors.ts'
import { elementBytes, type TensorDtype, type TensorInfo } from './safetensors.ts'

/** Bytes read at once: large enough for the disk, small beside any shard. */
const pieceBytes = 8 * 2 ** 20

/** @throws MeshError `dtypeUnsupported` */
const dtypeOf = ({ name, dtype }: TensorInfo): TensorDtype => {
  if (!(dtype in elementBytes)) throw new MeshError('dtypeUnsupported', { tensor: name, dtype })
  return dtype as TensorDtype
}

/** Little-endian elements to f32. `bytes` starts at a multiple of 4 in its buffer. */
const toFloats = (dtype: TensorDtype, bytes: Uint8Array, into: Float32Array): void => {
  const count = into.length
  if (dtype === 'F32') into.set(new Float32Array(bytes.buffer, bytes.byteOffset, count))
  else if (dtype === 'F16') into.set(new Float16Array(bytes.buffer, bytes.byteOffset, count))
  else {
    const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, count)
    const words = new Uint32Array(into.buffer, into.byteOffset, count)
    for (let i = 0; i < count; i++) words[i] = halves[i] << 16 // bf16 is the upper half of an f32
  }
}

/**
 * Rows `start`..`end` - 1 of a matrix [N, K], or that many elements of a vector.
 * @returns f32 [end - start, K]
 */
export const readRows = (tensor: TensorInfo, start: number, end: number): Float32Array => {
  const dtype = dtypeOf(tensor)
  const columns = tensor.dims.length > 1 ? tensor.dims[1] : 1
  if (start < 0 || end < start || end > tensor.dims[0])
    throw new RangeError(`rows ${start}..${end} of ${tensor.name}, which has ${tensor.dims[0]}`)
  const out = new Float32Array((end - start) * columns)
  const width = elementBytes[dtype]
  const piece = Math.max(1, Math.floor(pieceBytes / width))
  const buffer = new Uint8Array(Math.min(piece, out.length) * width)
  for (let at = 0; at < out.length; at += piece) {
    const count = Math.min(piece, out.length - at)
    const bytes = buffer.subarray(0, count * width)
    tensor.file.read(bytes, tensor.start + (start * columns + at) * width)
    toFloats(dtype, bytes, out.subarray(at, at + count))
  }
  return out
}

/** Columns `start`..`end` - 1 of rows `rowStart`..`rowEnd` - 1. @returns f32 [rowEnd - rowStart, end - start] */
export const readColumns = (
  tensor: TensorInfo,
  columns: { readonly start: number; readonly end: number },
  rows: { readonly start: number; readonly end: number },
): Float32Array => {
  const width = columns.end - columns.start
  const out = new Float32Array((rows.end - rows.start) * width)
  const rowsAtOnce = Math.max(1, Math.floor(pieceBytes / 4 / tensor.dims[1]))
  for (let row = rows.start; row < rows.end; row += rowsAtOnce) {
    const last = Math.min(rows.end, row + rowsAtOnce)
    const whole = readRows(tensor, row, last)
    for (let r = row; r < last; r++) {
      const from = (r - row) * tensor.dims[1]
      out.set(whole.subarray(from + columns.start, from + columns.end), (r - rows.start) * width)
    }
  }
  return out
}
