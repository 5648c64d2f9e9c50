/** How many characters one token can stand for at most: a text much longer than that need not be cut to be too long. */
import type { AddedToken } from './added-tokens.ts'
import { isJson } from '../json.ts'
import type { Vocabulary } from './vocabulary.ts'

/** Units of composed characters per unit of what they are composed of, from above (four letters, surrogates). */
const composition = 8

/** By how much a normalizer may shorten a text, from above; Infinity where there is no bound. */
const shrinkage = (normalizer: unknown): number => {
  if (normalizer === null || normalizer === undefined) return 1
  if (!isJson(normalizer)) return Infinity
  const { type } = normalizer
  if (type === 'Sequence' && Array.isArray(normalizer.normalizers))
    return normalizer.normalizers.map(shrinkage).reduce((a, b) => a * b, 1)
  if (type === 'Prepend') return 1
  if (typeof type === 'string' && /^NFK?[CD]$/.test(type)) return composition
  if (type !== 'Replace' || !isJson(normalizer.pattern)) return Infinity
  const [text, content] = [normalizer.pattern.String, normalizer.content]
  return typeof text === 'string' && typeof content === 'string' && content !== ''
    ? Math.max(1, text.length / content.length)
    : Infinity
}

/** True when no part of the text gets lost where it is cut. */
const keepsAll = (preTokenizer: unknown): boolean => {
  if (preTokenizer === null || preTokenizer === undefined) return true
  if (!isJson(preTokenizer)) return false
  const { type, pretokenizers, behavior } = preTokenizer
  if (type === 'Sequence') return Array.isArray(pretokenizers) && pretokenizers.every(keepsAll)
  if (type === 'Split' || type === 'Punctuation') return String(behavior ?? '').toLowerCase() !== 'removed'
  return ['ByteLevel', 'Metaspace', 'Digits'].includes(String(type))
}

/** @param tokens added tokens that are looked for in the text */
export const charactersPerToken = (
  {
    vocabulary,
    normalizer,
    preTokenizer,
  }: { readonly vocabulary: Vocabulary; readonly normalizer: unknown; readonly preTokenizer: unknown },
  tokens: readonly AddedToken[],
): number => {
  // runs of unknown characters, or of white space beside a token, may be of any length
  if (
    !vocabulary.losesNothing ||
    !keepsAll(preTokenizer) ||
    tokens.some(({ takesLeft, takesRight }) => takesLeft || takesRight)
  )
    return Infinity
  let longest = 1
  for (const { length } of vocabulary.names.values()) longest = Math.max(longest, length)
  for (const { content } of tokens) longest = Math.max(longest, content.length)
  return longest * shrinkage(normalizer)
}
