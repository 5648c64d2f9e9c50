/** Cuts and quantises the matrices of a shard, piece by piece, in any order and by any thread: pieces do not overlap. */
import { writeSync } from 'node:fs'
import { MeshError } from '../../shared/errors.ts'
import { sizeOf } from '../../shared/plan/shard-plan.ts'
import type { Quant } from '../../shared/schema/model.ts'
import { type Roles, rowBytes } from './architecture/tensor-roles.ts'
import { bitsOf, blockColumns, quantize } from './quantize.ts'
import { fusingOf, layoutShard, type ShardContent, type ShardTensor } from './shard-layout.ts'
import { type MatrixPart, matrixParts, plainParts, readPart, readPlain, storedBlocks } from './shard-parts.ts'
import { readKept } from './shard-types.ts'

/** Elements that are held in memory at once: few enough that threads end at about the same time. */
const pieceElements = 2 ** 20

/** Some rows of a matrix of the shard. */
export interface ShardPiece {
  readonly part: MatrixPart
  readonly start: number
  readonly end: number
}

export type { ShardContent }

const bytesOf = (data: Float32Array): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

/** The same list for the same content, so that threads can speak of pieces by their index. */
export const piecesOf = ({ spec, ranges, quant }: ShardContent): ShardPiece[] =>
  matrixParts(spec, ranges, fusingOf(quant)).flatMap((part) => {
    const rowsAtOnce = Math.max(1, Math.floor(pieceElements / part.columns))
    return Array.from({ length: Math.ceil(part.rows / rowsAtOnce) }, (_, index) => ({
      part,
      start: index * rowsAtOnce,
      end: Math.min(part.rows, (index + 1) * rowsAtOnce),
    }))
  })

/** A scale is an f16: values beyond 524,000 (q4) or 8 million (q8) have none. */
const refuseLarge = (
  roles: Roles,
  { pieces }: MatrixPart,
  { row, quant }: { readonly row: number; readonly quant: Quant },
): never => {
  let first = 0
  const piece = pieces.find(({ rows }) => row < (first += sizeOf(rows))) ?? pieces[0]
  const { sources, file } = roles.role(piece.role)
  throw new MeshError('weightsUnusable', {
    tensor: sources.join(', '),
    file: file ?? 'the model',
    problem: `a value is too large for ${quant}`,
  })
}

/** Writes into an open shard file. */
export class ShardWriter {
  readonly #content: ShardContent
  readonly #handle: number
  readonly #tensors: ReadonlyMap<string, ShardTensor>

  constructor(content: ShardContent, handle: number) {
    this.#content = content
    this.#handle = handle
    this.#tensors = new Map(layoutShard(content).tensors)
  }

  /** What stays f32. @returns bytes written */
  plain(roles: Roles): number {
    const { spec, ranges } = this.#content
    return plainParts(spec, ranges).reduce(
      (sum, part) => sum + this.#write(part.name, 0, bytesOf(readPlain(roles, part))),
      0,
    )
  }

  /** @returns bytes written */
  piece(roles: Roles, { part, start, end }: ShardPiece): number {
    const { quant, block = blockColumns } = this.#content
    if (quant === 'file') return this.#kept(roles, { part, start, end })
    if (quant === 'f32')
      return this.#write(
        `${part.name}.w`,
        start * part.columns * 4,
        bytesOf(readPart(roles, part, { start, end }).values),
      )
    const { values, columns, kept } = readPart(roles, part, { start, end }, block)
    const { codes, scales } = quantize(values, end - start, columns, { bits: bitsOf(quant), block, kept })
    const large = scales.findIndex((scale) => !Number.isFinite(scale))
    if (large >= 0) refuseLarge(roles, part, { row: start + Math.floor(large / storedBlocks(part, block)), quant })
    const blocks = start * storedBlocks(part, block)
    return (
      this.#write(`${part.name}.q`, (blocks * block * bitsOf(quant)) / 8, codes) +
      this.#write(`${part.name}.s`, blocks * 4, bytesOf(scales))
    )
  }

  /** Rows with the bits of their file. @returns bytes written */
  #kept(roles: Roles, { part, start, end }: ShardPiece): number {
    const type = this.#content.types?.[part.name]
    if (type === undefined) throw new Error(`no type for ${part.name}`)
    return this.#write(
      `${part.name}.w`,
      start * rowBytes(type, part.columns),
      readKept(roles, part, { start, end }, type),
    )
  }

  /** @param from bytes from the start of the tensor */
  #write(name: string, from: number, bytes: Uint8Array): number {
    const { offset } = this.#tensors.get(name) as ShardTensor
    for (let at = 0; at < bytes.length;) at += writeSync(this.#handle, bytes, at, bytes.length - at, offset + from + at)
    return bytes.length
  }
}
