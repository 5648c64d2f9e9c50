/** Words to token ids by merging pairs (Sennrich et al., 2016), byte-level or with bytes to fall back to. */
import { byteLetters, byteNames, bytesOf } from './byte-tokens.ts'
import { isJson, type Json, shown } from '../json.ts'
import { flag, knownFields, list } from './component.ts'
import { BPE } from './library.ts'
import { namesOf, type Vocabulary } from './vocabulary.ts'

const isEmpty = (value: unknown): boolean => value === null || value === undefined || value === ''

const readIds = (vocab: unknown): Map<string, number> => {
  if (!isJson(vocab)) throw new Error(`the vocabulary is ${shown(vocab)}`)
  const ids = new Map<string, number>()
  for (const [name, id] of Object.entries(vocab)) {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0)
      throw new Error(`the token ${shown(name)} has the id ${shown(id)}`)
    ids.set(name, id)
  }
  return ids
}

const readMerges = (merges: readonly unknown[]): [string, string][] =>
  merges.map((merge): [string, string] => {
    const pair: readonly unknown[] = typeof merge === 'string' ? merge.split(' ') : Array.isArray(merge) ? merge : []
    if (pair.length !== 2 || !pair.every((part) => typeof part === 'string'))
      throw new Error(`the merge ${shown(merge)} is no pair`)
    return pair as [string, string]
  })

const bpeFields = [
  'dropout',
  'unk_token',
  'continuing_subword_prefix',
  'end_of_word_suffix',
  'fuse_unk',
  'byte_fallback',
  'ignore_merges',
  'vocab',
  'merges',
]

/** @param special names that text never becomes. @throws Error */
export const createBpe = (config: Json, special: ReadonlySet<string>): Vocabulary => {
  knownFields('BPE', config, bpeFields)
  for (const key of ['dropout', 'continuing_subword_prefix', 'end_of_word_suffix']) {
    if (!isEmpty(config[key]) && config[key] !== 0)
      throw new Error(`BPE: ${key} is ${shown(config[key])}, which is not supported`)
  }
  const ids = readIds(config.vocab)
  // a special token is never made of text, whatever the merges say
  const merges = readMerges(list(config, 'merges')).filter(([left, right]) => !special.has(left + right))
  const unknown = isEmpty(config.unk_token) ? undefined : ids.get(String(config.unk_token))
  const fallsBack = flag(config, 'byte_fallback', false)
  const isFused = flag(config, 'fuse_unk', false)
  const ignoresMerges = flag(config, 'ignore_merges', false)
  const model = new BPE({ ...config, type: 'BPE', merges, end_of_word_suffix: null, continuing_subword_suffix: null })
  const inText = (part: string): number | undefined => (special.has(part) ? undefined : ids.get(part))

  const encode = (word: string): readonly number[] => {
    const whole = ignoresMerges ? inText(word) : undefined
    if (whole !== undefined) return [whole]
    const out: number[] = []
    let wasUnknown = false
    for (const part of model.bpe(word)) {
      const id = inText(part)
      const found = id === undefined ? (fallsBack ? bytesOf(part, ids) : undefined) : [id]
      if (found) out.push(...found)
      else if (unknown !== undefined && !(wasUnknown && isFused)) out.push(unknown)
      wasUnknown = !found
    }
    return out
  }
  const allLetters = byteLetters.every((letter) => ids.has(letter))
  const losesNothing = allLetters || (fallsBack && byteNames.every((name) => ids.has(name)))
  return { encode, names: namesOf(ids), idOf: (name) => ids.get(name), losesNothing }
}
