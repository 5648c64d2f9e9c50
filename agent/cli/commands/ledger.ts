import { Type } from 'typebox'
import { MeshError } from '../../../shared/errors.ts'
import { shortId } from '../../../shared/ids.ts'
import { snakeCase } from '../../../shared/printed.ts'
import { LedgerEntry } from '../../../shared/schema/credits.ts'
import { formatTime } from '../../../shared/words.ts'
import { selectPool } from '../../device/pools.ts'
import { defineCommand } from '../command.ts'
import { ledgerPages, parseSince } from '../ledger-pages.ts'
import { oneLine } from '../../../shared/text.ts'
import { table } from '../render.ts'
import { openSession } from '../session.ts'
import { creditText } from './credits.ts'

const columns = [
  'sequence',
  'settledAt',
  'kind',
  'deviceId',
  'jobId',
  'epoch',
  'modelWeights',
  'weights',
  'tokens',
  'computeUs',
  'amount',
  'signature',
  'hash',
] as const

const quoted = (value: string | number | null): string =>
  typeof value === 'string' ? `"${oneLine(value).replaceAll('"', '""')}"` : String(value ?? '')

/** Comma-separated values as in RFC 4180, texts in quotes; times in milliseconds since 1970. */
export const ledgerCsv = (entries: readonly LedgerEntry[]): string =>
  [
    columns.map(snakeCase).join(','),
    ...entries.map((entry) => columns.map((column) => quoted(entry[column])).join(',')),
  ]
    .map((line) => `${line}\n`)
    .join('')

export const ledger = defineCommand({
  name: 'ledger',
  summary: 'every credit that was earned and used, job by job',
  details:
    'The entries of a job sum to zero: what its workers earned, and what its submitter used. ' +
    '`mesh ledger verify` checks all of them.',
  options: ['since', 'poolId', 'controlPlane', 'controlPlaneKey', 'json', 'csv'],
  defaults: { since: '7d' },
  examples: ['mesh ledger', 'mesh ledger --since 30d --csv', 'mesh ledger --since 2027-01-31 --json'],
  json: Type.Array(LedgerEntry),
  run: async (context, values) => {
    if (values.json && values.csv) throw new MeshError('usage', { problem: 'give either --json or --csv' })
    const since = parseSince(values.since, context.now())
    const { client } = openSession(context, values)
    const { poolId } = selectPool(context.home, values.poolId)
    const entries: LedgerEntry[] = []
    for await (const page of ledgerPages(client, poolId, { since })) entries.push(...page)
    if (values.json) context.printJson(entries)
    else if (values.csv) context.stdout.write(ledgerCsv(entries))
    else if (entries.length === 0) context.stdout.write(`no entries since ${formatTime(since)}\n`)
    else {
      context.stdout.write(
        table(
          ['entry', 'time', 'job', 'device', 'what', 'tokens', 'credits', 'signed'],
          entries.map((entry) => [
            String(entry.sequence),
            formatTime(entry.settledAt),
            entry.jobId,
            shortId(entry.deviceId),
            entry.kind === 'use' ? 'used' : 'worked',
            String(entry.tokens),
            creditText(entry.amount),
            entry.signature === null ? 'no' : 'yes',
          ]),
          { columns: context.stdout.columns, below: ['job'] },
        ),
      )
    }
  },
})
