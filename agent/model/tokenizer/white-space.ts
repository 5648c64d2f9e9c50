/** White space at a place of a text; in steps of one letter, because patterns are slow on long runs of it. */

const isSpace = (letter: string): boolean => /^\p{White_Space}$/u.test(letter)

/** Where the white space that ends at `end` begins. No white space is a surrogate pair. */
export const spaceBefore = (text: string, end: number): number => {
  while (end > 0 && isSpace(text[end - 1])) end--
  return end
}

/** Where the white space that begins at `start` ends. */
export const spaceAfter = (text: string, start: number): number => {
  while (start < text.length && isSpace(text[start])) start++
  return start
}
