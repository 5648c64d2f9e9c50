/**
 * Tokens to text, piece by piece, never cutting a character: byte-level tokens may end in the middle of one.
 * Method: decode a short window twice, with and without the new tokens; their difference is the new text, once it no
 * longer ends in U+FFFD. The window starts where text was last given out, so the work per token stays constant.
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
/** Tokens before the new ones that are decoded with them: decoders may treat the first token of a text differently. */
const contextTokens = 4

export const createDetokenizer = (decoder: Decoder): Detokenizer => {
  /** Tokens given out that still serve as context. */
  let context: number[] = []
  let pending: number[] = []

  const delta = (): string => decoder.decode([...context, ...pending]).slice(decoder.decode(context).length)

  const give = (text: string): string => {
    context = [...context, ...pending].slice(-contextTokens)
    // a context that starts inside a character would decode to another length alone and with more tokens
    while (context.length > 0 && decoder.decode(context).includes(replacement)) context.shift()
    pending = []
    return text
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
