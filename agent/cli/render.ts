/** Text for people: tables, short times, ranges. */
import type { RankRanges } from '../../shared/schema/ring.ts'
import type { Range } from '../../shared/schema/common.ts'
import { formatDuration } from '../../shared/words.ts'
import type { CommandContext } from './command.ts'

/** Left-aligned columns, two spaces between them, no trailing spaces. Control characters are never printed. */
export const table = (headings: readonly string[], rows: readonly (readonly string[])[]): string => {
  const clean = [headings, ...rows].map((row) => row.map(printable))
  const widths = headings.map((_, column) => Math.max(...clean.map((row) => [...row[column]].length)))
  const line = (row: readonly string[]): string => row.map((cell, column) => cell + ' '.repeat(widths[column] - [...cell].length)).join('  ').trimEnd()
  return `${clean.map(line).join('\n')}\n`
}

/** `name   value` lines. */
export const fields = (rows: readonly (readonly [string, string])[]): string => {
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${printable(value)}\n`).join('')
}

/** Names come from other people's devices: what could steer a terminal is shown as `?`. */
export const printable = (text: string): string => text.replaceAll(/\p{Cc}|\p{Cf}/gu, '?')

/** The same for generated text, in which line ends and tabs belong. */
export const printableText = (text: string): string => text.replaceAll(/[^\P{Cc}\n\t]/gu, '')

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
export const rangeText = ({ start, end }: Range): string => (end <= start ? '-' : `${start}-${end - 1} (${end - start})`)

/** What one rank holds, in a few words. */
export const rangesText = (ranges: RankRanges): string =>
  `kv heads ${rangeText(ranges.kvHeads)}, heads ${rangeText(ranges.heads)}, MLP columns ${rangeText(ranges.ffn)}, vocabulary ${rangeText(ranges.vocab)}`

export const dim = (context: Pick<CommandContext, 'colour'>, text: string): string => (context.colour ? `\u001b[2m${text}\u001b[22m` : text)
export const bold = (context: Pick<CommandContext, 'colour'>, text: string): string => (context.colour ? `\u001b[1m${text}\u001b[22m` : text)

export const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`
