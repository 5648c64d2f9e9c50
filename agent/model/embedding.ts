/** Embedding rows, read from the model file one by one: no rank holds the matrix in memory. */
import type { RoleTensor } from './architecture/tensor-roles.ts'
import type { Model } from './model-folder.ts'

export interface EmbeddingReader {
  /**
   * Writes the rows of the tokens, scaled as the model says, into f32 [tokens, hidden].
   * @throws RangeError for a token outside the vocabulary | MeshError `weightsChanged`
   */
  read(tokens: readonly number[], into: Float32Array): void
}

/** The role of the matrix. */
export const embeddingRole = 'embedding'

/** Rows kept in memory: the common words of a conversation; 8 MB at hidden 4096. */
const keptRows = 512

/**
 * @param digests of all tensors of the model: rows are compared with them once the file was touched. They are not
 * before, because a row costs the hash of a whole piece; who passes them has checked the whole tensor.
 */
export const openEmbedding = (
  model: Pick<Model, 'roles' | 'partsOf' | 'files' | 'config'>,
  digests?: ReadonlyMap<string, Uint8Array>,
): EmbeddingReader => {
  const plain = model.roles().role(embeddingRole)
  const paths = new Set(model.partsOf(embeddingRole).map(({ file }) => file.path))
  const files = model.files.filter(({ path }) => paths.has(path))
  const checked = digests && model.roles(digests).role(embeddingRole)
  const tensorNow = (): RoleTensor =>
    checked === undefined || files.every((file) => file.isUnchanged()) ? plain : checked
  const hidden = plain.columns
  const kept = new Map<number, Float32Array>()
  const { embeddingScale } = model.config.spec
  const scaled = (values: Float32Array): Float32Array =>
    embeddingScale === 1 ? values : values.map((value) => value * embeddingScale)
  const row = (token: number): Float32Array => {
    const found = kept.get(token)
    // moved to the end: the first entry is the one unused for longest
    if (found) kept.delete(token)
    const value = found ?? scaled(tensorNow().readRows(token, token + 1))
    kept.set(token, value)
    if (kept.size > keptRows) kept.delete(kept.keys().next().value as number)
    return value
  }
  return {
    read: (tokens, into) => {
      for (const [index, token] of tokens.entries()) into.set(row(token), index * hidden)
    },
  }
}
