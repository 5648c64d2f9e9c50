/** What vocabularies call single bytes. */

/** The token of a byte in vocabularies that fall back to bytes. */
const byteName = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`
export const byteNames: readonly string[] = Array.from({ length: 256 }, (_, byte) => byteName(byte))

/** Ids of the bytes of a text, if the vocabulary has all of them. */
export const bytesOf = (word: string, ids: ReadonlyMap<string, number>): readonly number[] | undefined => {
  const found = Array.from(Buffer.from(word), (byte) => ids.get(byteNames[byte]))
  return found.every((id) => id !== undefined) ? found : undefined
}

/** What byte-level vocabularies call the 256 bytes (the table of GPT-2). */
export const byteLetters: readonly string[] = (() => {
  const printable = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
  let others = 0
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : 256 + others++))
})()
