/**
 * The hash tree of a tensor: SHA-256 of each of its pieces, and of those one behind the other. A rank that reads some
 * rows checks the pieces they lie in and no others; the roots of all tensors identify the weights of a model.
 */
import { createHash } from 'node:crypto'
import { MeshError } from '../../shared/errors.ts'
import { firstBadScale, isWeightType, weightFormats } from './blocks/formats.ts'
import type { ByteSource, TensorInfo } from './tensor-file.ts'

/** Bytes of a piece; the last one of a tensor has what is left. 32 bytes of hash for each: 0.5 MB for 16 GB. */
export const pieceBytes = 2 ** 20
export const digestBytes = 32

/** Where the data of a tensor lies in its file, and what it is made of. */
export type PlacedTensor = Pick<TensorInfo, 'name' | 'dtype' | 'dims' | 'start' | 'end'>

export const piecesIn = ({ start, end }: Pick<PlacedTensor, 'start' | 'end'>): number =>
  Math.ceil((end - start) / pieceBytes)

/** Bytes from the start of the file. */
const placeOf = (
  { start, end }: Pick<PlacedTensor, 'start' | 'end'>,
  piece: number,
): { readonly from: number; readonly to: number } => ({
  from: start + piece * pieceBytes,
  to: Math.min(end, start + (piece + 1) * pieceBytes),
})

const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest()

/** @param digests of all pieces, in order */
export const rootOf = (digests: Uint8Array): Buffer =>
  createHash('sha256').update('meshnet-tensor-v1\0').update(digests).digest()

/** Bits of the exponent; all of them set: infinite, or not a number. Two numbers of 16 bits lie in one word. */
const exponents: Readonly<Record<string, number>> = { F32: 0x7f800000, F16: 0x7c007c00, BF16: 0x7f807f80 }

/**
 * Index of the first element that is infinite or not a number, or -1.
 * @param bytes whole elements, starting at a multiple of 4 in their buffer
 */
export const firstNotFinite = (dtype: string, bytes: Uint8Array): number => {
  const mask = exponents[dtype]
  const width = dtype === 'F32' ? 4 : 2
  const [high, low] = dtype === 'F32' ? [mask, mask] : [mask & 0xffff0000, mask & 0xffff]
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2)
  for (let index = 0; index < words.length; index++) {
    const word = words[index] & mask
    if ((word & low) === low) return (index * 4) / width
    if ((word & high) === high) return (index * 4) / width + 1
  }
  if (bytes.length % 4 === 0) return -1
  const last = bytes[bytes.length - 2] | (bytes[bytes.length - 1] << 8)
  return (last & mask & 0xffff) === (mask & 0xffff) ? bytes.length / width - 1 : -1
}

const placeOfElement = ({ dims }: PlacedTensor, element: number): string => {
  const columns = dims[dims.length - 1] ?? 1
  return dims.length > 1 ? `row ${Math.floor(element / columns)}, column ${element % columns}` : `element ${element}`
}

/** Types of which every element is looked at; of blocks their scales are, of all others nothing. */
const checkFinite = (tensor: PlacedTensor, file: string, bytes: Uint8Array, offset: number): void => {
  const { name, dtype } = tensor
  const refuse = (element: number, what: string): never => {
    throw new MeshError('weightsUnusable', {
      tensor: name,
      file,
      problem: `${what} that is infinite or not a number at ${placeOfElement(tensor, element)}`,
    })
  }
  if (Object.hasOwn(exponents, dtype)) {
    const bad = firstNotFinite(dtype, bytes)
    if (bad >= 0) refuse(offset / (dtype === 'F32' ? 4 : 2) + bad, dtype)
  } else if (dtype === 'F8_E4M3') {
    // of both signs: all other bits set
    const bad = bytes.findIndex((byte) => (byte & 0x7f) === 0x7f)
    if (bad >= 0) refuse(offset + bad, dtype)
  } else if (isWeightType(dtype)) {
    const bad = firstBadScale(dtype, bytes, offset)
    if (bad >= 0) refuse(bad * weightFormats[dtype].values, `scale of ${dtype}`)
  }
}

/**
 * Reads pieces of a tensor and writes their hashes into place.
 * @param digests of all pieces of the tensor
 * @throws MeshError `safetensorsInvalid` (the file ends early) | `weightsUnusable` (not finite)
 */
export const hashPieces = (
  source: ByteSource,
  tensor: PlacedTensor,
  { first, count }: { readonly first: number; readonly count: number },
  digests: Uint8Array,
): void => {
  const buffer = new Uint8Array(Math.min(pieceBytes, tensor.end - tensor.start))
  for (let piece = first; piece < first + count; piece++) {
    const { from, to } = placeOf(tensor, piece)
    const bytes = buffer.subarray(0, to - from)
    source.read(bytes, from)
    digests.set(sha256(bytes), piece * digestBytes)
    checkFinite(tensor, source.path, bytes, piece * pieceBytes)
  }
}

const checkPiece = (
  { name }: PlacedTensor,
  file: string,
  { piece, bytes, digests }: { readonly piece: number; readonly bytes: Uint8Array; readonly digests: Uint8Array },
): void => {
  if (sha256(bytes).equals(digests.subarray(piece * digestBytes, (piece + 1) * digestBytes))) return
  throw new MeshError('weightsChanged', { tensor: name, file, piece })
}

/** The data of a tensor, every byte of it checked before it is given out: whole pieces are read for any part of them. */
class CheckedBytes implements ByteSource {
  readonly path: string
  readonly #tensor: TensorInfo
  readonly #digests: Uint8Array
  /** The last piece of which a part was wanted: the next part of it is often wanted next. */
  #kept = -1
  #buffer: Uint8Array | undefined

  constructor(tensor: TensorInfo, digests: Uint8Array) {
    this.path = tensor.file.path
    this.#tensor = tensor
    this.#digests = digests
  }

  read(into: Uint8Array, position: number): void {
    const { start } = this.#tensor
    const end = position + into.length
    for (let piece = Math.floor((position - start) / pieceBytes); start + piece * pieceBytes < end; piece++) {
      const { from, to } = placeOf(this.#tensor, piece)
      if (position <= from && to <= end) this.#readWhole(piece, into.subarray(from - position, to - position), from)
      else {
        const bytes = this.#keep(piece, { from, to })
        const [first, last] = [Math.max(from, position), Math.min(to, end)]
        into.set(bytes.subarray(first - from, last - from), first - position)
      }
    }
  }

  #readWhole(piece: number, into: Uint8Array, from: number): void {
    this.#tensor.file.read(into, from)
    checkPiece(this.#tensor, this.path, { piece, bytes: into, digests: this.#digests })
  }

  #keep(piece: number, { from, to }: { readonly from: number; readonly to: number }): Uint8Array {
    this.#buffer ??= new Uint8Array(pieceBytes)
    const bytes = this.#buffer.subarray(0, to - from)
    if (this.#kept === piece) return bytes
    this.#kept = -1
    this.#readWhole(piece, bytes, from)
    this.#kept = piece
    return bytes
  }
}

/** The same tensor; reading it throws MeshError `weightsChanged` where it has other bytes than these hashes say. */
export const checkedTensor = (tensor: TensorInfo, digests: Uint8Array): TensorInfo => ({
  ...tensor,
  file: new CheckedBytes(tensor, digests),
})
