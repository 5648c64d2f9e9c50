/** The ledger of a pool, page by page. */
import type { Client } from '../../shared/api/client.ts'
import { MeshError } from '../../shared/errors.ts'
import type { LedgerEntry } from '../../shared/schema/credits.ts'
import { parseDuration } from '../../shared/units.ts'

/** Entries after a number, in order, until there are no more. @param since leaves out what was settled earlier */
export async function* ledgerPages(
  client: Client,
  poolId: string,
  { after = 0, since = 0 }: { readonly after?: number; readonly since?: number },
): AsyncGenerator<LedgerEntry[]> {
  for (let last = after; ;) {
    const { entries, more } = await client.call('ledger', { params: { poolId }, query: { after: last, since } })
    if (entries.length > 0) yield entries
    if (!more || entries.length === 0) return
    last = entries[entries.length - 1].sequence
  }
}

/** `7d` or `12h` before now, or a date. @returns milliseconds since 1970; @throws MeshError `usage` */
export const parseSince = (text: string, now: number): number => {
  if (/^\d{4}-\d{2}/.test(text)) {
    const time = Date.parse(text)
    if (Number.isFinite(time) && time >= 0) return time
  } else if (/^\s*[\d.]+\s*[a-z]+\s*$/i.test(text)) return Math.max(0, now - parseDuration(text))
  throw new MeshError('usage', { problem: `--since wants an age like 7d or a date like 2027-01-31, got "${text}"` })
}
