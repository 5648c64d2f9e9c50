/**
 * Floats of 8 bits (e4m3, no infinities) with scales beside them: of blocks of rows and columns (`weight_scale_inv`, as
 * DeepSeek V3 and Qwen3 have it), of rows, or of the whole tensor. The value is the float times its scale.
 */
import { MeshError } from '../../../shared/errors.ts'
import type { StoredTensor } from '../architecture/tensor-roles.ts'
import type { TensorInfo } from '../tensor-file.ts'
import { readRawRows, readRows, sizeOfTensor } from '../tensor-slice.ts'

/** f32 of every e4m3: 4 bits of exponent with bias 7, 3 of mantissa; all bits set is no number. */
export const e4m3Values = Float32Array.from({ length: 256 }, (_, bits) => {
  const [exponent, mantissa] = [(bits >> 3) & 15, bits & 7]
  if (exponent === 15 && mantissa === 7) return NaN
  const size = exponent === 0 ? mantissa * 2 ** -9 : (8 + mantissa) * 2 ** (exponent - 10)
  return bits & 128 ? -size : size
})

/** Rows and columns that one scale is for. */
interface ScaleGrid {
  readonly rows: number
  readonly columns: number
  /** Scales in a row. */
  readonly across: number
}

const gridOf = (
  weight: TensorInfo,
  scale: TensorInfo,
  block: readonly [rows: number, columns: number] | undefined,
): ScaleGrid => {
  const { rows, columns } = sizeOfTensor(weight)
  const count = scale.dims.reduce((product, dim) => product * dim, 1)
  if (block !== undefined) {
    const [down, across] = [Math.ceil(rows / block[0]), Math.ceil(columns / block[1])]
    if (scale.dims.join() === [down, across].join()) return { rows: block[0], columns: block[1], across }
  } else if (count === 1) return { rows, columns, across: 1 }
  else if (count === rows && scale.dims[0] === rows) return { rows: 1, columns, across: 1 }
  throw new MeshError('tensorShape', {
    tensor: scale.name,
    got: `[${scale.dims.join(', ')}]`,
    want: block ? `one scale for each ${block.join(' x ')} of [${rows}, ${columns}]` : `[1], or [${rows}, 1]`,
  })
}

/** @throws MeshError `tensorShape` */
export const fp8Tensor = (
  weight: TensorInfo,
  scale: TensorInfo,
  block: readonly [rows: number, columns: number] | undefined,
): StoredTensor => {
  const { columns } = sizeOfTensor(weight)
  const grid = gridOf(weight, scale, block)
  const flat = { ...scale, dims: [scale.dims.reduce((product, dim) => product * dim, 1) / grid.across, grid.across] }
  const readValues = (start: number, end: number): Float32Array => {
    const values = new Float32Array((end - start) * columns)
    if (start === end) return values
    const codes = readRawRows(weight, 1, start, end)
    const firstScale = Math.floor(start / grid.rows)
    const scales = readRows(flat, firstScale, Math.ceil(end / grid.rows))
    for (let row = start; row < end; row++) {
      const own = (Math.floor(row / grid.rows) - firstScale) * grid.across
      const at = (row - start) * columns
      for (let column = 0; column < columns; column++)
        values[at + column] = e4m3Values[codes[at + column]] * scales[own + Math.floor(column / grid.columns)]
    }
    return values
  }
  return {
    name: weight.name,
    dims: weight.dims,
    type: 'F32',
    readRows: readValues,
    readBytes: (start, end) => new Uint8Array(readValues(start, end).buffer),
  }
}
