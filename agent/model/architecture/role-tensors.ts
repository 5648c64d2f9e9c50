/** Canonical tensors read from the tensors of a file, as the names of a family say where they lie. */
import { MeshError } from '../../../shared/errors.ts'
import type { ModelSpec } from './model-spec.ts'
import { type Names, type Piece, piecesOf, waysOf } from './naming.ts'
import { rolesOf, type Role } from './roles.ts'
import { blockSizes, rowBytes, type RoleTensor, type StoredTensor, type WeightType } from './tensor-roles.ts'

export interface RoleTensors {
  /** By role, in the order of layers. */
  readonly roles: ReadonlyMap<string, RoleTensor>
  /** Names of tensors of the file that no role uses, and that may be passed over. */
  readonly unused: readonly string[]
}

export interface BindRequest {
  readonly spec: ModelSpec
  readonly names: Names
  /** By the names that `names` says. */
  readonly tensors: ReadonlyMap<string, StoredTensor>
  /** Where they are: for messages. */
  readonly folder: string
  /** Tensors that no role uses and that change nothing. */
  readonly mayPassOver: (name: string) => boolean
}

interface BoundPiece extends Piece {
  readonly stored: StoredTensor
  /** First row of the role that is in this piece. */
  readonly start: number
}

const shapeText = (dims: readonly number[]): string => `[${dims.join(', ')}]`

/** A vector may lie in a tensor of any dims: it is its values in their order. */
const isVector = ({ columns }: BoundPiece): boolean => columns === 1

/** How a tensor has to lie for a piece of a role, beside how it lies. A row may be a tensor of one dim. */
const dimsOf = (piece: BoundPiece) => {
  const { dims } = piece.stored
  const elements = dims.reduce((product, dim) => product * dim, 1)
  const last = dims.at(-1) ?? 1
  const { transposed, columns, sourceRows, lines } = piece
  const want = transposed ? [transposed * lines.each, sourceRows / transposed] : [sourceRows, columns]
  const fits = elements === want[0] * want[1] && (isVector(piece) || last === want[1])
  const got = dims.length === 1 ? dims : [elements / last, last]
  return { got: shapeText(got), want: shapeText(isVector(piece) ? [want[0]] : want), fits }
}

/** @throws MeshError `tensorMissing` | `tensorShape` */
const bindPieces = (request: BindRequest, role: Role): BoundPiece[] => {
  const ways = waysOf(request.names, role.part)
  if (ways.length === 0) throw new Error(`no name for ${role.role} of ${request.spec.family}`)
  const [usual] = ways
  const way = ways.find((one) => piecesOf(request.spec, role, one).every(({ tensor }) => request.tensors.has(tensor)))
  let start = 0
  return piecesOf(request.spec, role, way ?? usual).map((piece) => {
    const stored = request.tensors.get(piece.tensor)
    if (!stored) throw new MeshError('tensorMissing', { tensor: piece.tensor, folder: request.folder })
    const bound = { ...piece, stored, start }
    start += piece.rows
    const { got, want, fits } = dimsOf(bound)
    if (!fits) throw new MeshError('tensorShape', { tensor: piece.tensor, got, want })
    // single values of blocks have no bytes of their own
    if (isVector(bound) && blockSizes[stored.type].values > 1)
      throw new MeshError('dtypeUnsupported', { tensor: piece.tensor, dtype: stored.type })
    return bound
  })
}

/** Rows of a piece that may be read at once, as a factor of those that are asked for: moving them is in memory then. */
const spread = 8

type Source = (start: number, end: number) => Uint8Array

/** Rows `start`..`end` - 1 of a piece, `unit` bytes for each value, or `length` for each row. */
interface Wanted {
  readonly start: number
  readonly end: number
  readonly source: Source
  readonly unit: number
  readonly length: number
}

/** End of the rows from `from` on that lie near one another in the file, and where. */
const nearby = (piece: Piece, from: number, end: number): { to: number; low: number; high: number } => {
  let [low, high] = [piece.sourceRow(from), piece.sourceRow(from)]
  for (let to = from + 1; to < end; to++) {
    const row = piece.sourceRow(to)
    const [nextLow, nextHigh] = [Math.min(low, row), Math.max(high, row)]
    if (nextHigh - nextLow + 1 > spread * Math.max(to - from + 1, 64)) return { to, low, high }
    ;[low, high] = [nextLow, nextHigh]
  }
  return { to: end, low, high }
}

const copyRows = (piece: Piece, { start, end, source, length }: Wanted): Uint8Array => {
  const into = new Uint8Array((end - start) * length)
  for (let from = start; from < end;) {
    const { to, low, high } = nearby(piece, from, end)
    const block = source(low, high + 1)
    for (let row = from; row < to; row++) {
      const at = (piece.sourceRow(row) - low) * length
      into.set(block.subarray(at, at + length), (row - start) * length)
    }
    from = to
  }
  return into
}

/** The same where columns of the file are the rows: each expert is a matrix [lines.each, sourceRows / experts]. */
const copyColumns = (piece: Piece, { start, end, source, unit, length }: Wanted): Uint8Array => {
  const into = new Uint8Array((end - start) * length)
  const width = piece.sourceRows / piece.transposed
  for (let column = 0; column < piece.columns; column++) {
    let expert = -1
    let line: Uint8Array = new Uint8Array()
    for (let row = start; row < end; row++) {
      const sourceRow = piece.sourceRow(row)
      const own = Math.floor(sourceRow / width)
      const at = own * piece.lines.each + piece.lines.before + column
      if (own !== expert) line = source(at, at + 1)
      expert = own
      const from = (sourceRow % width) * unit
      into.set(line.subarray(from, from + unit), (row - start) * length + column * unit)
    }
  }
  return into
}

const bytesOf = (values: Float32Array): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength)

/** Values `from`..`to` - 1 of a tensor, whatever its rows. */
const flat = (stored: StoredTensor, read: Source, unit: number): Source => {
  const last = stored.dims.at(-1) ?? 1
  return (from, to) => {
    const row = Math.floor(from / last)
    const block = read(row, Math.ceil(to / last))
    return block.subarray((from - row * last) * unit, (to - row * last) * unit)
  }
}

/** Reads rows of one piece: their values, or their bytes. */
const readPiece = (piece: BoundPiece, start: number, end: number, what: 'values' | 'bytes'): Uint8Array => {
  const { stored, transposed, columns } = piece
  const unit = what === 'values' ? 4 : rowBytes(stored.type, 1)
  const read: Source = (from, to) =>
    what === 'values' ? bytesOf(stored.readRows(from, to)) : stored.readBytes(from, to)
  const source = isVector(piece) ? flat(stored, read, unit) : read
  const length = what === 'values' ? 4 * columns : rowBytes(stored.type, columns)
  return (transposed ? copyColumns : copyRows)(piece, { start, end, source, unit, length })
}

const applied: Readonly<Record<'plusOne' | 'minusExp', (value: number) => number>> = {
  plusOne: (value) => value + 1,
  minusExp: (value) => -Math.exp(value),
}

const roleTensor = ({ role, rows, columns }: Role, pieces: readonly BoundPiece[]): RoleTensor => {
  const [{ stored, apply }] = pieces
  // of blocks that lie across rows only the values can be read
  const computed =
    apply !== undefined ||
    (pieces[0].transposed > 0 && blockSizes[stored.type].values > 1) ||
    pieces.some((piece) => piece.stored.type !== stored.type)
  const type: WeightType = computed ? 'F32' : stored.type
  const read = (start: number, end: number, what: 'values' | 'bytes', length: number): Uint8Array<ArrayBuffer> => {
    if (start < 0 || end > rows || start > end) throw new RangeError(`${role} has no rows ${start} to ${end}`)
    const into = new Uint8Array((end - start) * length)
    for (const piece of pieces) {
      const [from, to] = [Math.max(start, piece.start), Math.min(end, piece.start + piece.rows)]
      if (from >= to) continue
      into.set(readPiece(piece, from - piece.start, to - piece.start, what), (from - start) * length)
    }
    return into
  }
  const readRows = (start: number, end: number): Float32Array => {
    const values = new Float32Array(read(start, end, 'values', 4 * columns).buffer)
    return apply ? values.map(applied[apply]) : values
  }
  return {
    role,
    rows,
    columns,
    type,
    sources: [...new Set(pieces.map(({ tensor }) => tensor))],
    readRows,
    readBytes: (start, end) =>
      computed ? bytesOf(readRows(start, end)) : read(start, end, 'bytes', rowBytes(type, columns)),
  }
}

/**
 * Finds the tensors of every role. Nothing is read.
 * @throws MeshError `tensorMissing` | `tensorShape` | `tensorUnknown` (a tensor that no role uses may change the text)
 */
export const bindRoles = (request: BindRequest): RoleTensors => {
  const roles = rolesOf(request.spec)
  const known = knownNames(request, roles)
  const unused = [...request.tensors.keys()].filter((name) => !known.has(name))
  const unknown = unused.find((name) => !request.mayPassOver(name))
  if (unknown !== undefined) throw new MeshError('tensorUnknown', { tensor: unknown, folder: request.folder })
  const bound = roles.map((role): [string, RoleTensor] => [role.role, roleTensor(role, bindPieces(request, role))])
  return { roles: new Map(bound), unused }
}

/** Names of tensors that roles of this spec may use. */
const knownNames = ({ spec, names }: BindRequest, roles: readonly Role[]): Set<string> =>
  new Set(
    roles.flatMap((role) =>
      waysOf(names, role.part).flatMap((way) => piecesOf(spec, role, way).map(({ tensor }) => tensor)),
    ),
  )
