/**
 * Text for people: tables, short times, ranges. Tables fit the terminal: what is too wide for a line goes below it, and
 * nothing is cut off, since an address or a reason that ends in the middle helps nobody.
 */
import type { RankRanges } from '../../shared/schema/ring.ts'
import type { Range } from '../../shared/schema/common.ts'
import { oneLine } from '../../shared/text.ts'
import { formatDuration } from '../../shared/words.ts'
import type { CommandContext } from './command.ts'
import { padded, textWidth, wrapLines } from './wrap.ts'

/** Spaces between columns, and before what goes below a line. */
const [gap, indent] = [2, 2]

/** Sentences for people, in lines that fit. */
export const paragraph = (text: string, columns: number): string =>
  `${wrapLines(oneLine(text), columns, { hanging: indent, whole: true }).join('\n')}\n`

interface Fit {
  /** Cells of the terminal. */
  readonly columns: number
  /** Headings that go below before others, where not all fit in a line; what takes a third of it goes first. */
  readonly below?: readonly string[]
  /** What always stands below a row, a line each. */
  readonly under?: readonly (readonly string[])[]
}

/** Which columns go below their line, so that the others fit. The first always stays. */
const columnsBelow = (
  headings: readonly string[],
  widths: readonly number[],
  { columns, below = [] }: Fit,
): Set<number> => {
  const gone = new Set<number>()
  const width = (): number => widths.reduce((sum, cell, column) => (gone.has(column) ? sum : sum + cell + gap), -gap)
  const all = [...headings.keys()].filter((column) => column > 0)
  const wide = all.filter((column) => widths[column] > columns / 3)
  for (const column of [...wide, ...below.map((heading) => headings.indexOf(heading)), ...all.toReversed()]) {
    if (width() <= columns) break
    gone.add(column)
  }
  return gone
}

/**
 * Left-aligned columns, two spaces between them, no trailing spaces. Where they are too wide for the terminal, some
 * go below their line, with their headings. Control characters are never printed.
 */
export const table = (headings: readonly string[], rows: readonly (readonly string[])[], fit: Fit): string => {
  const clean = [headings, ...rows].map((row) => row.map(oneLine))
  const widths = headings.map((_, column) => Math.max(...clean.map((row) => textWidth(row[column]))))
  const below = columnsBelow(headings, widths, fit)
  const line = (row: readonly string[]): string =>
    row
      .flatMap((cell, column) => (below.has(column) ? [] : [padded(cell, widths[column])]))
      .join(' '.repeat(gap))
      .trimEnd()
  const rest = (row: readonly string[], under: readonly string[]): string[] => {
    const items = row.flatMap((cell, column) =>
      below.has(column) && cell !== '' && cell !== '-' ? [`${headings[column]} ${cell}`] : [],
    )
    const lines = [...items, ...under.map(oneLine)].flatMap((item) =>
      wrapLines(item, fit.columns - indent, { hanging: indent }),
    )
    return lines.map((text) => ' '.repeat(indent) + text)
  }
  const [head, ...body] = clean
  const lines = [
    ...wrapLines(line(head), fit.columns),
    ...body.flatMap((row, index) => [...wrapLines(line(row), fit.columns), ...rest(row, fit.under?.[index] ?? [])]),
  ]
  return lines.map((text) => `${text}\n`).join('')
}

/** `name   value` lines; a long value goes on below itself. What people copy stays whole. */
export const fields = (rows: readonly (readonly [string, string])[], columns = 80): string => {
  const width = Math.max(...rows.map(([name]) => name.length)) + gap
  const lines = rows.flatMap(([name, value]) => {
    const text = oneLine(value)
    const longest = Math.max(...text.split(' ').map(textWidth))
    // beside its name it would not fit, below it may
    if (width + longest > columns)
      return [name, ...wrapLines(text, columns - indent, { whole: true }).map((part) => ' '.repeat(indent) + part)]
    return wrapLines(text, columns - width, { whole: true }).map(
      (part, index) => (index === 0 ? name.padEnd(width) : ' '.repeat(width)) + part,
    )
  })
  return lines.map((line) => `${line.trimEnd()}\n`).join('')
}

/** `4 s ago`, `2 min ago`, `3 h ago`, `5 d ago` */
export const ago = (time: number, now: number): string => {
  const seconds = Math.max(0, Math.round((now - time) / 1000))
  if (seconds < 90) return `${seconds} s ago`
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min ago`
  return seconds < 48 * 3600 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86400)} d ago`
}

/** `6 d 23 h` or `expired`: what is left of a certificate, an invite or a key. */
export const validity = (notAfter: number, now: number): string =>
  notAfter <= now ? 'expired' : formatDuration(Math.max(1000, notAfter - now))

/** `0-3 (4)`, or `-` for an empty range. */
export const rangeText = ({ start, end }: Range): string =>
  end <= start ? '-' : `${start}-${end - 1} (${end - start})`

/** What one rank holds, in a few words: of a model with several kinds of heads or columns each by its name. */
export const rangesText = ({ parts = {}, ...ranges }: RankRanges): string =>
  [
    `kv heads ${rangeText(ranges.kvHeads)}`,
    `heads ${rangeText(ranges.heads)}`,
    `MLP columns ${rangeText(ranges.ffn)}`,
    ...Object.entries(parts).map(([name, range]) => `${name}: ${rangeText(range)}`),
    `vocabulary ${rangeText(ranges.vocab)}`,
  ].join(', ')

export const dim = (context: Pick<CommandContext, 'colour'>, text: string): string =>
  context.colour ? `\u001b[2m${text}\u001b[22m` : text
export const bold = (context: Pick<CommandContext, 'colour'>, text: string): string =>
  context.colour ? `\u001b[1m${text}\u001b[22m` : text

export const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`
