/** What a model is, as far as the control plane and the shard plan need to know. */
import { Type } from 'typebox'
import { Count, Hex64, ModelId } from './common.ts'

const Size = Type.Integer({ minimum: 1, maximum: 1 << 24 })

const Total = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })

/** Matrices of equal size, of all layers together. */
export const MatrixGroup = Type.Object({
  count: Type.Integer({ minimum: 1, maximum: 1 << 24 }),
  /** Those that one token is multiplied with; absent: all. */
  used: Type.Optional(Type.Number({ minimum: 0, maximum: 1 << 24 })),
  /** Which of the two is that of one unit. */
  cut: Type.Union([Type.Literal('rows'), Type.Literal('columns')]),
  rows: Size,
  columns: Size,
})
export type MatrixGroup = Type.Static<typeof MatrixGroup>

/** One dimension that is cut between ranks: heads of one geometry, columns of MLPs of one width. */
export const ModelPart = Type.Object({
  /** `kvHeads` and `ffn` are those of the ranges; others are in `parts` of the ranges. */
  name: Type.String({ minLength: 1, maxLength: 100 }),
  units: Size,
  /** Units that stay together: 32 columns, a head. */
  together: Size,
  matrices: Type.Array(MatrixGroup, { maxItems: 64 }),
  /** Of one unit: values that a token leaves in caches, of all layers. */
  cache: Total,
  /** Of one unit: values of a sequence that do not grow with it, of all layers. */
  state: Total,
  /** Of one unit: weights that stay f32, of all layers. */
  plain: Type.Optional(Total),
  /** Of one unit: values of a row while a half layer runs. */
  activations: Total,
  /** What every rank has whole that holds a unit, whatever it holds: the same as above. */
  copied: Type.Optional(
    Type.Object({ matrices: Type.Array(MatrixGroup, { maxItems: 64 }), cache: Total, activations: Total }),
  ),
})
export type ModelPart = Type.Static<typeof ModelPart>

/**
 * Sizes of a model. `heads` is a multiple of `kvHeads`. A model that is not cut as a Llama (one kind of attention, one
 * MLP) has `parts`: then they alone say what is cut, and heads and columns are those of the first layers.
 */
export const ModelShape = Type.Object({
  layers: Type.Integer({ minimum: 1, maximum: 1024 }),
  hidden: Size,
  heads: Type.Integer({ minimum: 1, maximum: 4096 }),
  kvHeads: Type.Integer({ minimum: 1, maximum: 4096 }),
  headDim: Type.Integer({ minimum: 2, maximum: 4096 }),
  ffn: Size,
  vocab: Size,
  context: Size,
  parts: Type.Optional(Type.Array(ModelPart, { minItems: 1, maxItems: 64 })),
  /** Numbers that every rank holds whole, f32: norms, routers. Absent: two norms a layer and one behind them. */
  whole: Type.Optional(Total),
  /** Bits of a weight as its file has it, on average: by name of a part, and `head`. Absent: 32. */
  fileBits: Type.Optional(Type.Record(Type.String({ maxLength: 100 }), Type.Number({ minimum: 1, maximum: 32 }))),
})
export type ModelShape = Type.Static<typeof ModelShape>

/** How ranks hold weights; `file`: each matrix in the type that its file has. */
/** Matrices of one kind in a shard that keeps the bits of its file. */
export const HeldMatrices = Type.Object({
  part: Type.String({ description: 'which matrix of the layers, or the head', maxLength: 100 }),
  fileType: Type.String({ description: 'type of its weights in the file', maxLength: 20 }),
  heldType: Type.String({
    description: 'type in the shard: another one where its columns are cut finer than the blocks of the file',
    maxLength: 20,
  }),
  matrices: Type.Integer({ minimum: 1, description: 'one for each layer that has it; a stack of experts is one' }),
  bytes: Type.Integer({ minimum: 0, description: 'in the shard' }),
})
export type HeldMatrices = Type.Static<typeof HeldMatrices>

export const Quant = Type.Union([Type.Literal('f32'), Type.Literal('q8'), Type.Literal('q4'), Type.Literal('file')])
export type Quant = Type.Static<typeof Quant>

export const ModelManifest = Type.Object({
  modelId: ModelId,
  /** SHA-256 over config, tokenizer and all weights that are used: equal on devices that hold the same bytes. */
  revision: Hex64,
  shape: ModelShape,
  weightBytes: Count,
  /** Characters of ordinary text that one token stands for at most; absent where there is no bound. */
  charactersPerToken: Type.Optional(Size),
})
export type ModelManifest = Type.Static<typeof ModelManifest>
