/** What a model is, as far as the control plane and the shard plan need to know. */
import { Type } from 'typebox'
import { Count, Hex64, ModelId } from './common.ts'

const Size = Type.Integer({ minimum: 1, maximum: 1 << 24 })

/** Sizes of a Llama-architecture model. `heads` is a multiple of `kvHeads`. */
export const ModelShape = Type.Object({
  layers: Type.Integer({ minimum: 1, maximum: 1024 }),
  hidden: Size,
  heads: Type.Integer({ minimum: 1, maximum: 4096 }),
  kvHeads: Type.Integer({ minimum: 1, maximum: 4096 }),
  headDim: Type.Integer({ minimum: 2, maximum: 4096 }),
  ffn: Size,
  vocab: Size,
  context: Size,
})
export type ModelShape = Type.Static<typeof ModelShape>

export const Quant = Type.Union([Type.Literal('f32'), Type.Literal('q8'), Type.Literal('q4')])
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
