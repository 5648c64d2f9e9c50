/**
 * The weights of one rank on disk: cut from the model folder, quantised once, found again by content hash.
 *
 * Tensors in the file (K = input columns, N = output rows; a matrix is stored as rows of its output):
 *
 * | name | f32 | q8, q4 |
 * | --- | --- | --- |
 * | `layers.<l>.attention.norm`, `layers.<l>.mlp.norm`, `head.norm` | f32 [hidden] | the same |
 * | `layers.<l>.attention.qkv`: own q rows, then k, then v; K = hidden | `.w` f32 [N, K] | `.q` u8, `.s` f32 |
 * | `layers.<l>.attention.o`: N = hidden, K = own heads * headDim | `.w` | `.q`, `.s` |
 * | `layers.<l>.mlp.gateUp`: own gate rows, then own up rows; K = hidden | `.w` | `.q`, `.s` |
 * | `layers.<l>.mlp.down`: N = hidden, K = own MLP columns | `.w` | `.q`, `.s` |
 * | `head`: own vocabulary rows; K = hidden | `.w` | `.q`, `.s` |
 *
 * `.q` is u8 [N, ceil(K / 32), 32 * bits / 8] and `.s` f32 [N, ceil(K / 32)], symmetric blocks of 32 along K as
 * ONNX Runtime's MatMulNBits wants them: value = (code - 8) * scale for 4 bits (even column in the low nibble),
 * (code - 128) * scale for 8 bits. The last block is padded with the zero code. Matrices of a rank that holds no
 * heads, no MLP columns or no vocabulary are absent.
 */

/** One tensor inside a shard file. */
export interface ShardTensor {
  readonly dtype: 'f32' | 'u8'
  readonly dims: readonly number[]
  /** Bytes from the start of the weights file; a multiple of 4096, so that it can be memory-mapped. */
  readonly offset: number
  readonly length: number
}

/** A rank's weights on disk, ready to be memory-mapped. */
export interface ShardFile {
  /** Folder that holds the weights file; a backend may put its own small files beside it. */
  readonly folder: string
  /** Absolute path. */
  readonly weights: string
  readonly tensors: ReadonlyMap<string, ShardTensor>
  /** Of all tensors together. */
  readonly bytes: number
  /** Content hash: names the folder. */
  readonly hash: string
}
