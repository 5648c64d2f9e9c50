/**
 * Canonical tensors of a model: what the engine asks for, whatever the file calls it and however it lies there.
 *
 * Matrices are [out, in] (rows of weights of one output), as Hugging Face has them; a stack of experts is one matrix
 * whose rows are those of expert 0, then 1, ... Rows of q and k lie as the `pairing` of the layer's rope says; norms
 * hold the factor itself; fused, interleaved, permuted and transposed tensors of files are taken apart by whoever
 * reads them. d = headDim, H = heads, K = kvHeads, E = experts, F = columns of the MLP.
 *
 * | role | dims |
 * | --- | --- |
 * | `embedding` (also `head` where the model is tied), `head` | [vocab, hidden] |
 * | `head.norm` | [hidden] |
 * | `layers.N.attention.norm`, `.postNorm`, `layers.N.mlp.norm`, `.postNorm` | [hidden] |
 * | `layers.N.attention.q`, `.k`, `.v`, `.o` | [H d, hidden], [K d, hidden], [K d, hidden], [hidden, H d] |
 * | `layers.N.attention.gate` (output gate) | [H d, hidden] |
 * | `layers.N.attention.q.bias`, `.k.bias`, `.v.bias`, `.o.bias` | [rows of the matrix] |
 * | `layers.N.attention.qNorm`, `.kNorm` | [d], or [H d], [K d] where it is over the projection |
 * | `layers.N.attention.sinks` | [H] |
 * | `layers.N.mlp.gate`, `.up`, `.down` (and `.bias`) | [F, hidden], [F, hidden], [hidden, F] |
 * | `layers.N.mlp.router`, `.router.bias`, `.router.choiceBias`, `.router.expertScale` | [E, hidden], [E], [E], [E] |
 * | `layers.N.mlp.experts.gate`, `.up`, `.down` | [E F, hidden], [E F, hidden], [E hidden, F] |
 * | `layers.N.mlp.experts.gate.bias`, `.up.bias`, `.down.bias` | [E F], [E F], [E hidden] |
 * | `layers.N.mlp.shared.gate`, `.up`, `.down`; `.shared.scale` | as an MLP; [1, hidden] |
 * | `layers.N.delta.qkv` (q heads, k heads, v heads), `.z`, `.b`, `.a`, `.o` | [2 Hk dk + Hv dv, hidden], [Hv dv, hidden], [Hv, hidden], [Hv, hidden], [hidden, Hv dv] |
 * | `layers.N.delta.convolution`, `.dtBias`, `.decay` (-exp(A_log)), `.norm` | [2 Hk dk + Hv dv, taps], [Hv], [Hv], [dv] |
 * | `layers.N.mla.qa`, `.qaNorm`, `.qb` (or `.q`), `.kva`, `.kvaNorm`, `.kb`, `.vb`, `.o` | [qRank, hidden], [qRank], [H (nope + rope), qRank], [kvRank + rope, hidden], [kvRank], [H kvRank, nope], [H v, kvRank], [hidden, H v] |
 */

/** How values are stored: plain floats, or blocks along the columns. */
export type WeightType = 'F32' | 'F16' | 'BF16' | BlockType
/** Blocks as ggml defines them, whose bytes a kernel may use as they are. */
export type BlockType =
  | 'Q4_0'
  | 'Q4_1'
  | 'Q5_0'
  | 'Q5_1'
  | 'Q8_0'
  | 'IQ4_NL'
  | 'MXFP4'
  | 'Q2_K'
  | 'Q3_K'
  | 'Q4_K'
  | 'Q5_K'
  | 'Q6_K'
  | 'IQ4_XS'

/** A canonical tensor, read by rows in bounded pieces. Vectors have one row per element and one column. */
export interface RoleTensor {
  readonly role: string
  readonly rows: number
  readonly columns: number
  /**
   * Type whose bytes `readBlocks` gives; formats of other worlds (FP8, GPTQ, AWQ) say F32: only their values are read.
   */
  readonly type: WeightType
  /** Names of the tensors of the file that it is made of: for messages and for what identifies the model. */
  readonly sources: readonly string[]
  /** The file that they lie in, for messages. */
  readonly file?: string
  /** Values of rows `start`..`end` - 1. @returns f32 [end - start, columns] */
  readRows(start: number, end: number): Float32Array
  /** Bytes of the same rows in `type`, little-endian. Rows are moved as the canonical order wants, never recomputed. */
  readBytes(start: number, end: number): Uint8Array
}

/**
 * A tensor as a file stores it, seen as rows: all dims but the last, in Hugging Face's order, are rows. Readers of
 * formats give these; which of them make up a role is known to the table of families.
 */
export interface StoredTensor {
  /** As the file has it. */
  readonly name: string
  /** In Hugging Face's order: [out, in], [experts, out, in]; the last is contiguous. */
  readonly dims: readonly number[]
  /** As of `RoleTensor`. */
  readonly type: WeightType
  /** @returns f32 [end - start, last dim] */
  readRows(start: number, end: number): Float32Array
  /** @returns bytes of the same rows in `type`; a row of blocks is whole blocks */
  readBytes(start: number, end: number): Uint8Array
}

/** Bytes of one row of `columns` values. Blocks of a type have a fixed size: 32 values, or 256 for `_K` and `_XS`. */
export const rowBytes = (type: WeightType, columns: number): number => {
  const { values, bytes } = blockSizes[type]
  return (columns / values) * bytes
}

/** Values in a block of each type, and its bytes. */
export const blockSizes: Readonly<Record<WeightType, { readonly values: number; readonly bytes: number }>> = {
  F32: { values: 1, bytes: 4 },
  F16: { values: 1, bytes: 2 },
  BF16: { values: 1, bytes: 2 },
  Q4_0: { values: 32, bytes: 18 },
  Q4_1: { values: 32, bytes: 20 },
  Q5_0: { values: 32, bytes: 22 },
  Q5_1: { values: 32, bytes: 24 },
  Q8_0: { values: 32, bytes: 34 },
  IQ4_NL: { values: 32, bytes: 18 },
  MXFP4: { values: 32, bytes: 17 },
  Q2_K: { values: 256, bytes: 84 },
  Q3_K: { values: 256, bytes: 110 },
  Q4_K: { values: 256, bytes: 144 },
  Q5_K: { values: 256, bytes: 176 },
  Q6_K: { values: 256, bytes: 210 },
  IQ4_XS: { values: 256, bytes: 136 },
}

/** Canonical tensors of a model, by role. */
export interface Roles {
  /** @throws MeshError `tensorMissing` | `weightsChanged`, when its rows are read */
  role(name: string): RoleTensor
}
