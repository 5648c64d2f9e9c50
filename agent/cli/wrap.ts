/** Text in lines of a terminal: how many cells it takes, and where it is broken. */

/** Letters and symbols that take two cells of a terminal: those of East Asia, and pictures. */
const wide =
  /[\u1100-\u115f\u2e80-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1b000}-\u{1b2ff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u
/** Accents and the like are drawn over the letter before them. */
const combining = /\p{Mn}|\p{Me}/u

const cellWidth = (letter: string): number => (combining.test(letter) ? 0 : wide.test(letter) ? 2 : 1)

/** Cells of a terminal that a text takes. */
export const textWidth = (text: string): number => [...text].reduce((sum, letter) => sum + cellWidth(letter), 0)

/** With spaces up to a width in cells. */
export const padded = (text: string, width: number): string => text + ' '.repeat(Math.max(0, width - textWidth(text)))

/** Parts of a word, each at most so wide. */
const pieces = (word: string, width: number): string[] => {
  const parts = ['']
  for (const letter of word) {
    if (parts[parts.length - 1] !== '' && textWidth(parts[parts.length - 1] + letter) > width) parts.push('')
    parts[parts.length - 1] += letter
  }
  return parts
}

/** Ids, addresses and paths: a line break in the middle would be copied with them. */
const isCopied = (word: string): boolean => /^[('"]*(?:[0-9a-f]{32,}|[a-z][a-z-]*:\S+|\/\S+)$/.test(word)

/**
 * A text as lines of at most `columns` cells, broken at spaces.
 * @param options `hanging`: indent of all lines but the first; `whole`: what people copy stays whole, also where it is
 * too long
 */
export const wrapLines = (
  text: string,
  columns: number,
  { hanging = 0, whole = false }: { readonly hanging?: number; readonly whole?: boolean } = {},
): string[] => {
  const lines = ['']
  const limit = (): number => Math.max(1, lines.length === 1 ? columns : columns - hanging)
  for (const word of text.split(' ')) {
    const last = lines[lines.length - 1]
    if (last !== '' && textWidth(last) + 1 + textWidth(word) <= limit()) {
      lines[lines.length - 1] += ` ${word}`
      continue
    }
    if (last !== '') lines.push('')
    for (const [index, piece] of (whole && isCopied(word) ? [word] : pieces(word, limit())).entries()) {
      if (index > 0) lines.push('')
      lines[lines.length - 1] += piece
    }
  }
  return lines.map((line, index) => (index === 0 ? line : ' '.repeat(hanging) + line))
}
