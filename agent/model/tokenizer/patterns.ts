/** Regular expressions of tokenizer.json, and cutting text at what they match, as Rust's `tokenizers` does it. */
import { SplitPreTokenizer } from './library.ts'
import { type Json, isJson, shown } from '../json.ts'

/** What becomes of a match, beside the text between matches. */
export const behaviours = ['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'] as const
export type Behaviour = (typeof behaviours)[number]

/** The library turns Oniguruma's syntax into that of JavaScript. @throws Error */
export const patternOf = (pattern: unknown): RegExp => {
  if (isJson(pattern) && typeof pattern.String === 'string') return new RegExp(RegExp.escape(pattern.String), 'gu')
  if (!isJson(pattern) || typeof pattern.Regex !== 'string')
    throw new Error(`the pattern ${shown(pattern)} is not supported`)
  const { pattern: made } = new SplitPreTokenizer({
    type: 'Split',
    pattern: { Regex: pattern.Regex },
    behavior: 'Isolated',
    invert: false,
  })
  if (!made) throw new Error(`the pattern ${shown(pattern)} is not supported`)
  return made
}

export const behaviourOf = (config: Json, fallback?: Behaviour): Behaviour => {
  const value = config.behavior ?? fallback
  // written as Isolated by Rust, as isolated by its Python binding
  const found = behaviours.find(
    (one) => typeof value === 'string' && one.toLowerCase() === value.toLowerCase().replaceAll('_', ''),
  )
  if (!found) throw new Error(`behavior is ${shown(value)}; supported: ${behaviours.join(', ')}`)
  return found
}

interface Part {
  start: number
  end: number
  readonly isMatch: boolean
}

const partsOf = (whole: string, pattern: RegExp, invert: boolean): Part[] => {
  const parts: Part[] = []
  let at = 0
  for (const match of whole.matchAll(pattern)) {
    const end = match.index + match[0].length
    if (end === match.index) continue
    if (match.index > at) parts.push({ start: at, end: match.index, isMatch: invert })
    parts.push({ start: match.index, end, isMatch: !invert })
    at = end
  }
  if (at < whole.length) parts.push({ start: at, end: whole.length, isMatch: invert })
  return parts
}

/** Joins a part to the one before it where `joins` says so. */
const joined = (parts: readonly Part[], joins: (part: Part, before: Part) => boolean): Part[] => {
  const out: Part[] = []
  let before: Part | undefined
  for (const part of parts) {
    const last = out.at(-1)
    if (last && before && joins(part, before)) {
      last.start = Math.min(last.start, part.start)
      last.end = Math.max(last.end, part.end)
    } else {
      out.push({ ...part })
    }
    before = part
  }
  return out
}

/** Pieces of a text, in order; none is empty. */
export const cut = (whole: string, pattern: RegExp, behaviour: Behaviour, invert = false): string[] => {
  let parts = partsOf(whole, pattern, invert)
  const toNeighbour = (part: Part, before: Part): boolean => part.isMatch && !before.isMatch
  if (behaviour === 'Removed') parts = parts.filter(({ isMatch }) => !isMatch)
  if (behaviour === 'MergedWithPrevious') parts = joined(parts, toNeighbour)
  if (behaviour === 'MergedWithNext') parts = joined(parts.toReversed(), toNeighbour).toReversed()
  if (behaviour === 'Contiguous') parts = joined(parts, (part, before) => part.isMatch === before.isMatch)
  return parts.map(({ start, end }) => whole.slice(start, end))
}
