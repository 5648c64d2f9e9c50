/** Tokens that stand in text as they are written, and where a text has them: `added_tokens` of tokenizer.json. */
import { isJson, type Json, shown } from '../json.ts'
import { flag, knownFields, text as field } from './component.ts'
import { spaceAfter, spaceBefore } from './white-space.ts'

export interface AddedToken {
  readonly id: number
  readonly content: string
  /** Only where no letter or digit stands beside it. */
  readonly isSingleWord: boolean
  /** White space before it belongs to it. */
  readonly takesLeft: boolean
  readonly takesRight: boolean
  /** Looked for after normalising, in its normalised form. */
  readonly isNormalized: boolean
  /** Steers the model: left out of text, and in text of users only text. */
  readonly isSpecial: boolean
}

const readToken = (config: Json): AddedToken => {
  const { id } = config
  if (typeof id !== 'number' || !Number.isInteger(id) || id < 0)
    throw new Error(`an added token has the id ${shown(id)}`)
  knownFields('added token', config, ['id', 'content', 'single_word', 'lstrip', 'rstrip', 'normalized', 'special'])
  const isSpecial = flag(config, 'special', false)
  return {
    id,
    isSpecial,
    content: field(config, 'content', ''),
    isSingleWord: flag(config, 'single_word', false),
    takesLeft: flag(config, 'lstrip', false),
    takesRight: flag(config, 'rstrip', false),
    isNormalized: flag(config, 'normalized', !isSpecial),
  }
}

/** @throws Error */
export const readAddedTokens = (tokens: readonly unknown[]): AddedToken[] => {
  const read = tokens.map((token) => {
    if (!isJson(token)) throw new Error(`an added token is ${shown(token)}`)
    return readToken(token)
  })
  return read.filter(({ content }) => content !== '')
}

/** A part of a text: a token, or what stands between tokens. */
export type Section = string | AddedToken

const endsInWord = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u
const beginsInWord = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u

const standsAlone = (whole: string, start: number, end: number): boolean =>
  // a character has two units at most
  !endsInWord.test(whole.slice(Math.max(0, start - 2), start)) && !beginsInWord.test(whole.slice(end, end + 2))

/** Finds tokens in texts: the leftmost, and of those that begin there the longest. */
export class TokenFinder {
  readonly #tokens: ReadonlyMap<string, AddedToken>
  /** Lengths of the tokens that begin with a unit, longest first. */
  readonly #lengths = new Map<string, readonly number[]>()

  /** @param written how each token is written where it is looked for */
  constructor(written: Iterable<readonly [string, AddedToken]>) {
    this.#tokens = new Map(written)
    for (const [begin, texts] of Map.groupBy(this.#tokens.keys(), (text) => text[0])) {
      this.#lengths.set(
        begin,
        [...new Set(texts.map(({ length }) => length))].toSorted((a, b) => b - a),
      )
    }
  }

  #at(whole: string, at: number): { readonly token: AddedToken; readonly length: number } | undefined {
    for (const length of this.#lengths.get(whole[at]) ?? []) {
      const token = this.#tokens.get(whole.slice(at, at + length))
      if (token) return { token, length }
    }
    return undefined
  }

  /** The text, cut at the tokens in it; no section is empty. */
  split(whole: string): Section[] {
    if (this.#tokens.size === 0) return whole === '' ? [] : [whole]
    const sections: Section[] = []
    let plainFrom = 0
    for (let at = 0; at < whole.length;) {
      const found = this.#at(whole, at)
      if (!found) {
        at++
        continue
      }
      const { token, length } = found
      const end = at + length
      if (!token.isSingleWord || standsAlone(whole, at, end)) {
        const plainTo = token.takesLeft ? spaceBefore(whole, at) : at
        if (plainTo > plainFrom) sections.push(whole.slice(plainFrom, plainTo))
        sections.push(token)
        plainFrom = token.takesRight ? spaceAfter(whole, end) : end
      }
      at = Math.max(end, plainFrom)
    }
    if (plainFrom < whole.length) sections.push(whole.slice(plainFrom))
    return sections
  }
}
