/**
 * Text that other people wrote, as it may be shown. A terminal obeys what stands in text: escape sequences set its
 * title, clear it and write to its clipboard, C1 characters do the same, format characters turn the direction of a line
 * or are not seen at all, and a line end makes room for a line that looks like ours.
 */

/** Line ends and tabs of all kinds. */
const breaks = /[\t\n\v\f\r\u0085\u2028\u2029]+/g
/** Control and format characters, and halves of characters. */
const unseen = /[\p{Cc}\p{Cf}\p{Cs}]/gu
/** The same without line end and tab, and without the two joiners that letters and emoji need. */
const steering = /[^\P{Cc}\n\t]|[^\P{Cf}\u200c\u200d]|\p{Cs}|[\u2028\u2029]/gu
/** Escape sequences that our own text may have: bold, dim, eight colours, and their ends. */
const ownSequence = new RegExp(`(${'\u001b'}\\[(?:[12]|22|3[0-7]|39|9[0-7])m)`)

/** Names, reasons and errors of others in one line: what is not to be seen is shown as `?`. */
export const oneLine = (text: string): string => text.replaceAll(breaks, ' ').replaceAll(unseen, '?')

/** Generated text for a terminal: line ends, tabs and joined emoji stay, what steers goes. */
export const flowingText = (text: string): string => text.replaceAll(steering, '')

/** What a program prints, on its way to a terminal: the last look, whatever was forgotten before. */
export const terminalText = (text: string): string =>
  text
    .split(ownSequence)
    .map((part, index) => (index % 2 === 1 ? part : flowingText(part)))
    .join('')

/** JSON whose strings do nothing to a terminal either: the same value, with more of it as `\uXXXX`. */
export const terminalJson = (json: string): string =>
  json.replaceAll(/[\u007f-\u009f\u2028\u2029]|\p{Cf}/gu, (character) =>
    character
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  )

/**
 * A name that was given before such names were refused, as one that holds.
 * @param otherwise when nothing of it can be seen
 */
export const shownName = (name: string, otherwise: string): string => {
  const shown = oneLine(name)
  return new RegExp(namePattern, 'u').test(shown) ? shown : otherwise
}

/** Pattern (of JSON Schema) of names that people give: nothing that is not seen, and something that is. */
export const namePattern = String.raw`^(?=.*[^\s\p{M}\u115f\u1160\u2800\u3164\uffa0])[^\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]+$`
