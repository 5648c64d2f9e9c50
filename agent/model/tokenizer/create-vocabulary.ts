/** The model of tokenizer.json by its kind. */
import { createBpe } from './bpe.ts'
import { isJson, shown } from '../json.ts'
import { createUnigram } from './unigram.ts'
import type { Vocabulary } from './vocabulary.ts'

/**
 * @param special names that text never becomes
 * @throws Error naming a kind or field that is not supported
 */
export const createVocabulary = (config: unknown, special: ReadonlySet<string>): Vocabulary => {
  if (!isJson(config)) throw new Error(`the model is ${shown(config)}`)
  const type =
    config.type ?? (Array.isArray(config.vocab) ? 'Unigram' : config.merges === undefined ? undefined : 'BPE')
  if (type === 'BPE') return createBpe(config, special)
  if (type === 'Unigram') return createUnigram(config, special)
  throw new Error(`the model ${shown(type)} is not supported; supported: BPE, Unigram`)
}
