/**
 * SentencePiece's own table of replacements (`precompiled_charsmap`): a trie of UTF-8 texts in a double array (the
 * layout of darts-clone), and behind it the texts that take their place. As Rust's `spm_precompiled` reads it.
 */

/** Bytes of a letter with its accents that is looked up as one; longer ones go code point by code point. */
const longestWhole = 5

const hasValue = (unit: number): boolean => ((unit >>> 8) & 1) === 1
const valueOf = (unit: number): number => unit & 0x7fff_ffff
const labelOf = (unit: number): number => (unit & 0x8000_00ff) >>> 0
const offsetOf = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6)

/** @throws Error when the table is damaged */
export const createPrecompiled = (base64: string): ((text: string) => string) => {
  const bytes = Buffer.from(base64, 'base64')
  if (bytes.length === 0) return (text) => text
  const trieBytes = bytes.length >= 4 ? bytes.readUInt32LE(0) : -1
  if (trieBytes < 4 || trieBytes % 4 !== 0 || 4 + trieBytes > bytes.length)
    throw new Error('precompiled_charsmap is damaged')
  const units = Uint32Array.from({ length: trieBytes / 4 }, (_, i) => bytes.readUInt32LE(4 + 4 * i))
  const texts = bytes.subarray(4 + trieBytes)

  /** Where the replacement of the shortest text begins that `key` begins with. */
  const find = (key: Uint8Array): number | undefined => {
    let at = offsetOf(units[0])
    for (const byte of key) {
      at ^= byte
      const unit = units[at]
      if (byte === 0 || unit === undefined || labelOf(unit) !== byte) return undefined
      at ^= offsetOf(unit)
      if (hasValue(unit)) return at < units.length ? valueOf(units[at]) : undefined
    }
    return undefined
  }

  const replacementOf = (part: string): string | undefined => {
    const start = find(Buffer.from(part))
    if (start === undefined) return undefined
    const end = texts.indexOf(0, start)
    return texts.subarray(start, end < 0 ? undefined : end).toString('utf8')
  }

  const letters = new Intl.Segmenter('und', { granularity: 'grapheme' })
  return (text) => {
    const out: string[] = []
    for (const { segment } of letters.segment(text)) {
      const whole = Buffer.byteLength(segment) <= longestWhole ? replacementOf(segment) : undefined
      if (whole === undefined) for (const point of segment) out.push(replacementOf(point) ?? point)
      else out.push(whole)
    }
    return out.join('')
  }
}
