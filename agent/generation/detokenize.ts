/**
 * Tokens to text, piece by piece, never cutting a character: byte-level tokens may end in the middle of one.
 * Method: decode a short window twice, with and without the new tokens; their difference is the new text, once it no
 * longer ends in U+FFFD. The window begins where text was given out, so the work per token stays constant and no window
 * begins inside a character. Before the first piece it is the end of the prompt: decoders take away the space that
 * begins a text, and an answer does not begin one.
 */
export interface Decoder {
  decode(tokens: readonly number[]): string
}

export interface Detokenizer {
  /** @returns the text that is complete now, often empty */
  push(token: number): string
  /** @returns what was held back; incomplete characters become U+FFFD */
  finish(): string
}

const replacement = '\ufffd'
/** Tokens held back at most: two characters of four bytes, one token a byte. Longer runs are broken text. */
const longestHold = 8
/**
 * Tokens before the new ones that are decoded with them, at least: decoders may treat the first of a text differently.
 */
const contextTokens = 4
/** Tokens looked back at most, for some that make text. */
const longestContext = 256

/** The end of the prompt that a decoder needs to see: some text, beginning with a whole character. */
const endOf = (decoder: Decoder, prompt: readonly number[]): readonly number[] => {
  for (let length = contextTokens; length < prompt.length && length <= longestContext; length++) {
    const end = prompt.slice(-length)
    const text = decoder.decode(end)
    if (text !== '' && !text.startsWith(replacement)) return end
  }
  return prompt.slice(-longestContext)
}

/** @param prompt tokens that the answer follows */
export const createDetokenizer = (decoder: Decoder, prompt: readonly number[] = []): Detokenizer => {
  /** Tokens given out that still serve as context, in the pieces in which they were. */
  let given: (readonly number[])[] = [endOf(decoder, prompt)]
  let pending: number[] = []

  const shorten = (): void => {
    while (given.length > 1) {
      const shorter = given.slice(1)
      if (shorter.reduce((sum, { length }) => sum + length, 0) < contextTokens || decoder.decode(shorter.flat()) === '')
        return
      given = shorter
    }
  }

  const give = (text: string): string => {
    given.push(pending)
    pending = []
    shorten()
    return text
  }

  const delta = (): string => {
    const context = given.flat()
    const [before, all] = [decoder.decode(context), decoder.decode([...context, ...pending])]
    // bytes that are no text may spoil those before them in the same run, which were given out already
    return all.startsWith(before) ? all.slice(before.length) : decoder.decode(pending)
  }

  return {
    push: (token) => {
      pending.push(token)
      const text = delta()
      if (text.endsWith(replacement) && pending.length < longestHold) return ''
      return give(text)
    },
    finish: () => (pending.length === 0 ? '' : give(delta())),
  }
}
