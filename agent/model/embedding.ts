/** Embedding rows, read from the model file one by one: no rank holds the matrix in memory. */
import type { Model } from './model-folder.ts'
import type { TensorInfo } from './safetensors.ts'
import { readRows } from './tensor-slice.ts'

export interface EmbeddingReader {
  /**
   * Writes the rows of the tokens into f32 [tokens, hidden].
   * @throws RangeError for a token outside the vocabulary
   */
  read(tokens: readonly number[], into: Float32Array): void
}

/** Rows kept in memory: the common words of a conversation; 8 MB at hidden 4096. */
const keptRows = 512

export const openEmbedding = (model: Pick<Model, 'tensor'>): EmbeddingReader => {
  const tensor: TensorInfo = model.tensor('model.embed_tokens.weight')
  const hidden = tensor.dims[1]
  const kept = new Map<number, Float32Array>()
  const row = (token: number): Float32Array => {
    const found = kept.get(token)
    // moved to the end: the first entry is the one unused for longest
    if (found) kept.delete(token)
    const value = found ?? readRows(tensor, token, token + 1)
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
