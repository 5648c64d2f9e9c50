/** Words to token ids by the likeliest cut (Kudo, 2018), as SentencePiece has it. */
import { byteNames, bytesOf } from './byte-tokens.ts'
import { type Json, shown } from '../json.ts'
import { flag, knownFields, list } from './component.ts'
import { namesOf, type Vocabulary } from './vocabulary.ts'

/** What a character outside of the vocabulary costs, below the least likely token (as SentencePiece has it). */
const unknownPenalty = 10

interface Scored {
  readonly id: number
  readonly score: number
}

const readScores = (vocab: readonly unknown[]): Map<string, Scored> => {
  const tokens = new Map<string, Scored>()
  for (const [id, entry] of vocab.entries()) {
    const [name, score] = Array.isArray(entry) ? (entry as unknown[]) : []
    if (typeof name !== 'string' || typeof score !== 'number')
      throw new Error(`entry ${id} of the vocabulary is ${shown(entry)}`)
    tokens.set(name, { id, score })
  }
  return tokens
}

/**
 * The likeliest way to a place in a word: where its last token begins, and its id (undefined: an unknown character).
 */
interface Way {
  readonly from: number
  readonly id: number | undefined
  readonly score: number
}

/** The likeliest way to each place of a word; undefined inside a character. */
const waysThrough = (
  word: string,
  { pieces, longest, unknownScore }: { pieces: ReadonlyMap<string, Scored>; longest: number; unknownScore: number },
): (Way | undefined)[] => {
  const ways: (Way | undefined)[] = [{ from: 0, id: undefined, score: 0 }]
  const offer = (end: number, way: Way): void => {
    const held = ways[end]
    if (!held || way.score > held.score) ways[end] = way
  }
  for (let from = 0; from < word.length;) {
    const till = ways[from]?.score ?? 0
    const letter = (word.codePointAt(from) as number) > 0xffff ? 2 : 1
    let hasLetter = false
    for (let length = 1; length <= longest && from + length <= word.length; length++) {
      const piece = pieces.get(word.slice(from, from + length))
      if (!piece) continue
      if (length === letter) hasLetter = true
      offer(from + length, { from, id: piece.id, score: till + piece.score })
    }
    if (!hasLetter) offer(from + letter, { from, id: undefined, score: till + unknownScore })
    from += letter
  }
  return ways
}

/** A token of a word, or a run of characters that no token has. */
interface Piece {
  readonly text: string
  readonly id: number | undefined
}

const likeliest = (word: string, ways: readonly (Way | undefined)[]): Piece[] => {
  const pieces: Piece[] = []
  let runEnd: number | undefined
  for (let end = word.length; end > 0;) {
    const { from, id } = ways[end] as Way
    if (id !== undefined) pieces.push({ text: word.slice(from, end), id })
    else runEnd ??= end
    const isRunOver = runEnd !== undefined && (from === 0 || ways[from]?.id !== undefined)
    if (id === undefined && isRunOver) {
      pieces.push({ text: word.slice(from, runEnd), id })
      runEnd = undefined
    }
    end = from
  }
  return pieces.toReversed()
}

/**
 * Tokens that may stand in text are neither special nor bytes, as SentencePiece keeps it.
 * @param special names that text never becomes
 * @throws Error
 */
export const createUnigram = (config: Json, special: ReadonlySet<string>): Vocabulary => {
  knownFields('Unigram', config, ['unk_id', 'vocab', 'byte_fallback'])
  const all = readScores(list(config, 'vocab'))
  if (all.size === 0) throw new Error('the vocabulary is empty')
  const fallsBack = flag(config, 'byte_fallback', false)
  const unknown = config.unk_id ?? undefined
  if (unknown !== undefined && typeof unknown !== 'number') throw new Error(`unk_id is ${shown(unknown)}`)
  const ids = new Map([...all].map(([name, { id }]) => [name, id]))
  const bytes = new Set(fallsBack ? byteNames : [])
  const inText = ([name, { id }]: readonly [string, Scored]): boolean =>
    name !== '' && id !== unknown && !special.has(name) && !bytes.has(name)
  const pieces = new Map([...all].filter(inText))
  const longest = [...pieces.keys()].reduce((most, { length }) => Math.max(most, length), 0)
  const unknownScore = [...all.values()].reduce((least, { score }) => Math.min(least, score), Infinity) - unknownPenalty

  const idsOf = ({ text, id }: Piece): readonly number[] => {
    if (id !== undefined) return [id]
    const found = fallsBack ? bytesOf(text, ids) : undefined
    if (found) return found
    if (unknown === undefined)
      throw new Error(`${shown(text)} is not in the vocabulary, which has no token for what is unknown`)
    return [unknown]
  }
  return {
    encode: (word) => likeliest(word, waysThrough(word, { pieces, longest, unknownScore })).flatMap(idsOf),
    names: namesOf(ids),
    idOf: (name) => ids.get(name),
    losesNothing: fallsBack && byteNames.every((name) => ids.has(name)),
  }
}
