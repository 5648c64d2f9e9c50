/** What a model is, from its headers alone: what `model-add` checks and `model-show` tells. */
import { weightsOf } from '../../shared/plan/shard-plan.ts'
import { openModel } from '../model/model-folder.ts'
import { isGguf } from '../model/gguf/name.ts'
import { loadTokenizer } from '../model/tokenizer.ts'
import type { LibraryEntry } from './library.ts'
import type { ModelFacts } from './model-facts.ts'

export const formatOf = (path: string): LibraryEntry['format'] => (isGguf(path) ? 'gguf' : 'safetensors')

/**
 * Opens a model as the agent would, tokenizer too, without reading weights.
 * @param path a folder, or a GGUF file
 * @throws MeshError of what is missing, damaged or not supported
 */
export const describeModel = (path: string, name: string): ModelFacts => {
  const model = openModel(path, name)
  try {
    loadTokenizer(model.folder)
    const { shape, weightBytes } = model.about
    const { layers, hidden, vocab, context } = shape
    return { family: model.config.spec.family, weights: weightsOf(shape), layers, hidden, vocab, context, weightBytes }
  } finally {
    model.close()
  }
}
