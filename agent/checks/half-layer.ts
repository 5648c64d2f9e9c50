/**
 * The MLP half of one layer as one rank holds it: the same columns, cut and quantised by the same code as its shard,
 * from this device's own model folder. What is read is compared with the hashes of the model, as for a shard.
 */
import { sizeOf } from '../../shared/plan/shard-plan.ts'
import type { Range } from '../../shared/schema/common.ts'
import type { Quant } from '../../shared/schema/model.ts'
import type { Roles } from '../model/architecture/tensor-roles.ts'
import type { ModelSpec } from '../model/architecture/model-spec.ts'
import { bitsOf, type BlockColumns, quantize, type QuantBits } from '../model/quantize.ts'
import { leadColumns, type MatrixPart, mlpParts, readPart, storedBlocks } from '../model/shard-parts.ts'

/** Whose half, and how its weights are held. */
export interface HalfRequest {
  readonly spec: ModelSpec
  readonly layer: number
  /** MLP columns of the rank. */
  readonly ffn: Range
  readonly quant: Quant
  /** Columns of a block of quantisation. */
  readonly block: BlockColumns
}

export const matrixNames = ['gateUp', 'down'] as const
export type MatrixName = (typeof matrixNames)[number]

/** Rows of a matrix, as a product takes them. */
export type HeldRows =
  /** i8 [rows, blocks * block], value = code * scale; f32 [rows, blocks] */
  | { readonly kind: 'codes'; readonly codes: Int8Array; readonly scales: Float32Array }
  /** f32 [rows, columns] */
  | { readonly kind: 'floats'; readonly values: Float32Array }

/** What of a matrix follows from the request alone. */
export interface MatrixShape {
  readonly rows: number
  /** Columns that are stored: those of whole blocks where weights are quantised. */
  readonly width: number
  /** Stored columns before the rank's first one: another rank's, and zeros here. */
  readonly lead: number
}

/** Elements that are read, quantised and multiplied at once. */
const pieceElements = 2 ** 18

const nothing: Range = { start: 0, end: 0 }

const partOf = ({ spec, layer, ffn }: HalfRequest, name: MatrixName): MatrixPart => {
  const ranges = { kvHeads: nothing, heads: nothing, vocab: nothing, ffn }
  return mlpParts(spec, ranges, layer).find((part) => part.name === `layers.${layer}.mlp.${name}`) as MatrixPart
}

export const shapeOf = (request: HalfRequest, name: MatrixName): MatrixShape => {
  const part = partOf(request, name)
  const { quant, block } = request
  if (quant === 'f32') return { rows: part.rows, width: part.columns, lead: 0 }
  return { rows: part.rows, width: storedBlocks(part, block) * block, lead: leadColumns(part.firstColumn, block) }
}

/** Rows of a matrix that are held in memory at once. */
export const piecesOf = ({ rows, width }: MatrixShape): Range[] => {
  const atOnce = Math.max(1, Math.floor(pieceElements / width))
  return Array.from({ length: Math.ceil(rows / atOnce) }, (_, index) => ({
    start: index * atOnce,
    end: Math.min(rows, (index + 1) * atOnce),
  }))
}

/** Codes with their zero taken off. */
const signed = (codes: Uint8Array, bits: QuantBits): Int8Array => {
  if (bits === 8) return Int8Array.from(codes, (code) => code - 128)
  const out = new Int8Array(codes.length * 2)
  for (let i = 0; i < codes.length; i++) {
    out[2 * i] = (codes[i] & 15) - 8
    out[2 * i + 1] = (codes[i] >> 4) - 8
  }
  return out
}

/** Cuts rows of a matrix from the model's canonical tensors. @throws MeshError `weightsChanged` | `safetensorsInvalid` */
export const cutRows = (roles: Roles, request: HalfRequest, name: MatrixName, rows: Range): HeldRows => {
  const { quant, block } = request
  const part = partOf(request, name)
  if (quant === 'f32') return { kind: 'floats', values: readPart(roles, part, rows).values }
  const bits = bitsOf(quant)
  const { values, columns, kept } = readPart(roles, part, rows, block)
  const { codes, scales } = quantize(values, sizeOf(rows), columns, { bits, block, kept })
  return { kind: 'codes', codes: signed(codes, bits), scales }
}

/** f32 [hidden]: weights of the norm before the half. */
export const readNorm = (roles: Roles, { spec, layer }: HalfRequest): Float32Array =>
  roles.role(`layers.${layer}.mlp.norm`).readRows(0, spec.hidden)
