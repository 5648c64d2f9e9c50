/**
 * Integers of 4 bits with a scale and a zero point for each group of columns, eight in a word of 32 bits, stored by
 * columns: word [column, row]. The value is scale * (code - zero).
 *
 * GPTQ (AutoGPTQ and GPTQModel): `qweight` [in / 8, out] packs neighbouring columns, lowest bits first; `qzeros`
 * [groups, out / 8] packs rows, stored less one in the first version of the format; `g_idx` [in] says the group of each
 * column. AWQ (AutoAWQ, "gemm"): `qweight` [in, out / 8] and `qzeros` [groups, out / 8] pack rows in the order 0, 2, 4,
 * 6, 1, 3, 5, 7.
 */
import { MeshError } from '../../../shared/errors.ts'
import type { StoredTensor } from '../architecture/tensor-roles.ts'
import { writeHalf } from '../blocks/halves.ts'
import type { TensorInfo } from '../tensor-file.ts'
import { readRawColumns, readRows } from '../tensor-slice.ts'

export interface Int4Parts {
  /** Of the tensor that they make up. */
  readonly name: string
  readonly qweight: TensorInfo
  readonly qzeros: TensorInfo
  readonly scales: TensorInfo
  /** Absent: groups lie one behind the other. */
  readonly groups?: TensorInfo
}

export interface Int4Format {
  readonly packing: 'gptq' | 'awq'
  readonly zeroOffset: 0 | 1
  /** All zero points are 8 and groups lie in order, as the config says: then the values are blocks of Q4_0. */
  readonly isSymmetric: boolean
}

/** Where AWQ keeps row r of eight: in the nibble `awqNibbles[r]`. */
const awqNibbles = [0, 4, 1, 5, 2, 6, 3, 7] as const
const inOrder = [0, 1, 2, 3, 4, 5, 6, 7] as const

const shape = ({ name, dims }: TensorInfo, want: readonly number[]): void => {
  if (dims.join() !== want.join())
    throw new MeshError('tensorShape', { tensor: name, got: `[${dims.join(', ')}]`, want: `[${want.join(', ')}]` })
}

/** Words of rows `start`..`end` - 1 of a tensor of I32 [N, out / 8] or [N, out], for all N. */
const wordsOf = (tensor: TensorInfo, start: number, end: number): Int32Array => {
  const bytes = readRawColumns(tensor, 4, { start, end })
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
}

/** Codes, zero points and scales of some rows. */
interface Codes {
  /** u8 [rows, columns] */
  readonly codes: Uint8Array
  /** u8 [groups, rows] */
  readonly zeros: Uint8Array
  /** f32 [groups, rows] */
  readonly scales: Float32Array
}

class Int4Reader {
  readonly rows: number
  readonly columns: number
  readonly #parts: Int4Parts
  readonly #format: Int4Format
  readonly #groupCount: number
  readonly #groupSize: number
  #groupOf: Int32Array | undefined

  /** @throws MeshError `tensorShape` | `dtypeUnsupported` */
  constructor(parts: Int4Parts, format: Int4Format) {
    const { qweight, qzeros, scales, groups } = parts
    this.#parts = parts
    this.#format = format
    for (const tensor of [qweight, qzeros, ...(groups ? [groups] : [])])
      if (tensor.dtype !== 'I32') throw new MeshError('dtypeUnsupported', { tensor: tensor.name, dtype: tensor.dtype })
    const [down, across] = [qweight.dims[0] ?? 0, qweight.dims[1] ?? 0]
    this.columns = format.packing === 'gptq' ? 8 * down : down
    this.rows = format.packing === 'gptq' ? across : 8 * across
    this.#groupCount = scales.dims[0] ?? 0
    this.#groupSize = this.columns / this.#groupCount
    if (!Number.isInteger(this.#groupSize) || this.rows % 8 !== 0 || qweight.dims.length !== 2)
      throw new MeshError('tensorShape', {
        tensor: qweight.name,
        got: `[${qweight.dims.join(', ')}]`,
        want: `whole groups of columns (${this.#groupCount}) and of eight rows`,
      })
    shape(scales, [this.#groupCount, this.rows])
    shape(qzeros, [this.#groupCount, this.rows / 8])
    if (groups) shape(groups, [this.columns])
  }

  /** Columns of a group, where they lie in order. */
  get groupSize(): number {
    return this.#groupSize
  }

  /** Group of a column. @throws MeshError `weightsUnusable` */
  groupOf(column: number): number {
    const { groups } = this.#parts
    if (groups === undefined) return Math.floor(column / this.#groupSize)
    if (this.#groupOf === undefined) {
      const found = wordsOf({ ...groups, dims: [1, this.columns] }, 0, this.columns)
      if (found.some((group) => group < 0 || group >= this.#groupCount))
        throw this.unusable(groups, `it names a group beyond the ${this.#groupCount} of the scales`)
      this.#groupOf = found
    }
    return this.#groupOf[column]
  }

  unusable(tensor: TensorInfo, problem: string): MeshError {
    return new MeshError('weightsUnusable', { tensor: tensor.name, file: tensor.file.path, problem })
  }

  read(start: number, end: number): Codes {
    if (!(start >= 0 && start <= end && end <= this.rows))
      throw new RangeError(`rows ${start}..${end} of ${this.#parts.name}, which has ${this.rows}`)
    const scales = new Float32Array(this.#groupCount * (end - start))
    const flat = this.#parts.scales
    for (let group = 0; group < this.#groupCount; group++) {
      const line = readRows(
        { ...flat, dims: [this.#groupCount * this.rows] },
        group * this.rows + start,
        group * this.rows + end,
      )
      scales.set(line, group * (end - start))
    }
    return { codes: this.#codes(start, end), zeros: this.#zeros(start, end), scales }
  }

  #codes(start: number, end: number): Uint8Array {
    const { columns } = this
    const codes = new Uint8Array((end - start) * columns)
    if (this.#format.packing === 'awq') {
      this.#unpackRows(this.#parts.qweight, start, end, (column, row, code) => {
        codes[row * columns + column] = code
      })
      return codes
    }
    const width = end - start
    const words = wordsOf(this.#parts.qweight, start, end)
    for (let at = 0; at < words.length; at++) {
      const to = (at % width) * columns + 8 * Math.floor(at / width)
      for (let nibble = 0; nibble < 8; nibble++) codes[to + nibble] = (words[at] >>> (4 * nibble)) & 15
    }
    return codes
  }

  #zeros(start: number, end: number): Uint8Array {
    const { zeroOffset } = this.#format
    const zeros = new Uint8Array(this.#groupCount * (end - start))
    this.#unpackRows(this.#parts.qzeros, start, end, (group, row, code) => {
      // programs do not agree what 15 plus one is
      if (code + zeroOffset > 15)
        throw this.unusable(this.#parts.qzeros, `a zero point of 16 in group ${group}, row ${start + row}`)
      zeros[group * (end - start) + row] = code + zeroOffset
    })
    return zeros
  }

  /** Nibbles of a tensor that packs eight rows in a word. */
  #unpackRows(
    tensor: TensorInfo,
    start: number,
    end: number,
    take: (line: number, row: number, code: number) => void,
  ): void {
    const [first, last] = [Math.floor(start / 8), Math.ceil(end / 8)]
    const nibbles = this.#format.packing === 'awq' ? awqNibbles : inOrder
    const words = wordsOf(tensor, first, last)
    const width = last - first
    for (let line = 0; line < tensor.dims[0]; line++) {
      for (let row = start; row < end; row++) {
        const word = words[line * width + (row >> 3) - first]
        take(line, row - start, (word >>> (4 * nibbles[row & 7])) & 15)
      }
    }
  }
}

const valuesOf = (reader: Int4Reader, start: number, end: number): Float32Array => {
  const { codes, zeros, scales } = reader.read(start, end)
  const [rows, { columns }] = [end - start, reader]
  const values = new Float32Array(rows * columns)
  const groups = Int32Array.from({ length: columns }, (_, column) => reader.groupOf(column) * rows)
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const group = groups[column] + row
      values[row * columns + column] = scales[group] * (codes[row * columns + column] - zeros[group])
    }
  }
  return values
}

/** Q4_0 has the same codes and the same scale for 32 columns. */
const blocksOf = (reader: Int4Reader, parts: Int4Parts, start: number, end: number): Uint8Array => {
  const { codes, zeros, scales } = reader.read(start, end)
  const bad = zeros.findIndex((zero) => zero !== 8)
  if (bad >= 0) throw reader.unusable(parts.qzeros, `a zero point of ${zeros[bad]}, where config.json says sym`)
  const blocks = reader.columns / 32
  const bytes = new Uint8Array((end - start) * blocks * 18)
  for (let row = 0; row < end - start; row++) {
    for (let block = 0; block < blocks; block++) {
      const at = 18 * (row * blocks + block)
      const from = row * reader.columns + 32 * block
      writeHalf(bytes, at, scales[Math.floor((32 * block) / reader.groupSize) * (end - start) + row])
      for (let j = 0; j < 16; j++) bytes[at + 2 + j] = codes[from + j] | (codes[from + 16 + j] << 4)
    }
  }
  return bytes
}

/** @throws MeshError `tensorShape` | `dtypeUnsupported` */
export const int4Tensor = (parts: Int4Parts, format: Int4Format): StoredTensor => {
  const reader = new Int4Reader(parts, format)
  const readValues = (start: number, end: number): Float32Array => valuesOf(reader, start, end)
  const isBlocks = format.isSymmetric && parts.scales.dtype === 'F16' && reader.groupSize % 32 === 0
  return {
    name: parts.name,
    dims: [reader.rows, reader.columns],
    type: isBlocks ? 'Q4_0' : 'F32',
    readRows: readValues,
    readBytes: (start, end) =>
      isBlocks ? blocksOf(reader, parts, start, end) : new Uint8Array(readValues(start, end).buffer),
  }
}
