/**
 * A half layer on disk, as products take it: cutting and quantising costs a thousand times a check, and memory is what
 * the ring was planned with. The file has no name once it is open, so nothing is left of it whatever ends the process;
 * what is read often stays in the page cache, which the system takes back when it needs to.
 */
import { closeSync, mkdirSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { sizeOf } from '../../shared/plan/shard-plan.ts'
import type { Range } from '../../shared/schema/common.ts'
import type { Roles } from '../model/architecture/tensor-roles.ts'
import {
  cutRows,
  type HalfRequest,
  type HeldRows,
  type MatrixName,
  matrixNames,
  piecesOf,
  readNorm,
  shapeOf,
} from './half-layer.ts'
import type { HeldHalf } from './recompute.ts'

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array | Int8Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)

const listOf = (rows: HeldRows): readonly (Float32Array | Int8Array)[] =>
  rows.kind === 'codes' ? [rows.codes, rows.scales] : [rows.values]

/** Bytes that a half takes. */
export const halfBytes = (request: HalfRequest): number =>
  matrixNames.reduce((sum, name) => {
    const { rows, width } = shapeOf(request, name)
    return sum + rows * (request.quant === 'f32' ? width * 4 : width + (width / request.block) * 4)
  }, 0)

interface Placed {
  readonly name: MatrixName
  readonly rows: Range
  readonly offset: number
}

/** Opened, and gone from its folder; Windows keeps the name until it is closed. */
const openNameless = (folder: string): { readonly handle: number; readonly path: string } => {
  mkdirSync(folder, { recursive: true })
  const path = join(folder, `half-${randomBytes(8).toString('hex')}`)
  const handle = openSync(path, 'wx+', 0o600)
  try {
    rmSync(path, { force: true })
  } catch {
    // removed when it is closed
  }
  return { handle, path }
}

export class HalfFile implements HeldHalf {
  readonly request: HalfRequest
  readonly norm: Float32Array
  readonly #roles: Roles
  readonly #handle: number
  readonly #path: string
  readonly #pieces: Placed[] = []
  #end = 0

  /** Empty; `cut` fills it. @throws MeshError of the model folder | Error with the code of the system */
  constructor(roles: Roles, request: HalfRequest, folder: string) {
    this.request = request
    this.norm = readNorm(roles, request)
    this.#roles = roles
    const { handle, path } = openNameless(folder)
    this.#handle = handle
    this.#path = path
  }

  /** Cuts all rows, and yields after each piece. */
  *cut(): Generator<void> {
    for (const name of matrixNames) {
      for (const rows of piecesOf(shapeOf(this.request, name))) {
        this.#pieces.push({ name, rows, offset: this.#end })
        for (const array of listOf(cutRows(this.#roles, this.request, name, rows))) this.#write(bytesOf(array))
        yield
      }
    }
  }

  *rows(name: MatrixName): Generator<HeldRows> {
    const { width } = shapeOf(this.request, name)
    const { quant, block } = this.request
    for (const piece of this.#pieces) {
      if (piece.name !== name) continue
      const elements = sizeOf(piece.rows) * width
      const rows: HeldRows =
        quant === 'f32'
          ? { kind: 'floats', values: new Float32Array(elements) }
          : { kind: 'codes', codes: new Int8Array(elements), scales: new Float32Array(elements / block) }
      let at = piece.offset
      for (const array of listOf(rows)) at += this.#read(bytesOf(array), at)
      yield rows
    }
  }

  close(): void {
    closeSync(this.#handle)
    rmSync(this.#path, { force: true })
  }

  #write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) at += writeSync(this.#handle, bytes, at, bytes.length - at, this.#end + at)
    this.#end += bytes.length
  }

  #read(into: Uint8Array, offset: number): number {
    for (let at = 0; at < into.length;) {
      const got = readSync(this.#handle, into, at, into.length - at, offset + at)
      if (got === 0) throw new Error('a half layer kept for checks ends early')
      at += got
    }
    return into.length
  }
}
