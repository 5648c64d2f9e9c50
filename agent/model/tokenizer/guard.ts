/**
 * Keeps text of users apart from the special tokens of a chat template, while the template puts both together.
 *
 * A template may trim, split and compare what it is given, so contents must stay readable for it. They get marks where
 * a special token would stand in them: a lone surrogate, which no well-formed text contains, behind its first letter.
 * Special tokens of the rendered text are then the template's own, and the marks are taken out again.
 */
import { type AddedToken, TokenFinder } from './added-tokens.ts'
import { spaceAfter, spaceBefore } from './white-space.ts'

export interface Guard {
  /** Marks a text of users. @param text well-formed */
  protect(text: string): string
  /** Takes the marks out again. */
  restore(text: string): string
}

const mark = '\udc00'
/** Lone surrogates behind the mark stand for special tokens of one letter, which no mark can break. */
const firstStandIn = 0xdc01
const standIns = 1023
/** With the flag u: never the second half of a character. */
const lone = /[\udc00-\udfff]/gu

/** Marks at an end that could complete a special token whose other parts the template writes. */
const markEnds = (text: string, contents: readonly string[]): string => {
  const [from, to] = [spaceAfter(text, 0), spaceBefore(text, text.length)]
  if (from >= to) return text
  const inner = text.slice(from, to)
  const proper = (content: string): number[] => Array.from({ length: content.length - 1 }, (_, i) => i + 1)
  const completes = contents.some(
    (content) => content.includes(inner) || proper(content).some((cut) => inner.startsWith(content.slice(cut))),
  )
  const begins = contents.some((content) => proper(content).some((cut) => inner.endsWith(content.slice(0, cut))))
  return `${text.slice(0, from)}${completes ? mark : ''}${inner}${begins ? mark : ''}${text.slice(to)}`
}

/** @param special tokens of the model that steer it */
export const createGuard = (special: readonly AddedToken[]): Guard => {
  const contents = [...new Set(special.map(({ content }) => content))]
  const plain = { isSingleWord: false, takesLeft: false, takesRight: false }
  const finder = new TokenFinder(special.map((token) => [token.content, { ...token, ...plain }]))
  const letters = contents.filter((content) => [...content].length === 1).slice(0, standIns)

  const broken = (content: string): string => {
    const letter = letters.indexOf(content)
    if (letter >= 0) return String.fromCharCode(firstStandIn + letter)
    const [first] = content
    return first + mark + content.slice(first.length)
  }
  const markInside = (text: string): string => {
    // again, because a token may stand in another
    for (;;) {
      const sections = finder.split(text)
      if (sections.every((section) => typeof section === 'string')) return text
      text = sections.map((section) => (typeof section === 'string' ? section : broken(section.content))).join('')
    }
  }
  return {
    protect: (text) => markEnds(markInside(text), contents),
    restore: (text) =>
      text.replace(lone, (one) => (one === mark ? '' : (letters[one.charCodeAt(0) - firstStandIn] ?? ''))),
  }
}
