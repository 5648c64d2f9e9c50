import { type Static, Type } from 'typebox'
import { MeshError } from '../../../shared/errors.ts'
import { writeStateJson } from '../../../shared/home.ts'
import { shortId } from '../../../shared/ids.ts'
import { LedgerCheck, type LedgerSummary } from '../../../shared/ledger/verify.ts'
import { Count, Hex64, Name } from '../../../shared/schema/common.ts'
import type { CreditsView } from '../../../shared/schema/credits.ts'
import { readChecked } from '../../device/checked-state.ts'
import { selectPool } from '../../device/pools.ts'
import { defineCommand } from '../command.ts'
import { counted, paragraph } from '../render.ts'
import { ledgerPages } from '../ledger-pages.ts'
import { openSession, type Session } from '../session.ts'

/** Head of the last check that held: nobody can cut or write anew what comes before it without being found. */
const KnownHead = Type.Object({ sequence: Count, hash: Hex64 })

const UnsignedOf = Type.Object({
  deviceId: Hex64,
  name: Name,
  work: Type.Integer({
    minimum: 0,
    description: 'entries of work: its report did not come within --settle-after, the plan of the ring speaks for it',
  }),
  use: Type.Integer({
    minimum: 0,
    description: 'entries of use: an app with an API key asked, or the command ended before it could sign',
  }),
})
type UnsignedOf = Static<typeof UnsignedOf>

const DisputedOf = Type.Object({
  deviceId: Hex64,
  name: Name,
  against: Type.Integer({
    minimum: 0,
    description: 'jobs of which it signed another number of tokens than most of its ring',
  }),
  undecided: Type.Integer({
    minimum: 0,
    description: 'jobs of which its ring signed different numbers, none of them by more than half',
  }),
})
type DisputedOf = Static<typeof DisputedOf>

type Checked = Omit<LedgerSummary, 'unsigned' | 'disputed'> & {
  readonly unsigned: readonly UnsignedOf[]
  readonly disputed: readonly DisputedOf[]
}

/** Why entries have no signature, and what that means. */
const unsignedText = (unsigned: readonly UnsignedOf[], columns: number): string => {
  if (unsigned.length === 0) return ''
  const kinds = ({ work, use }: UnsignedOf): string =>
    [...(work > 0 ? [`${work} of work`] : []), ...(use > 0 ? [`${use} of use`] : [])].join(', ')
  const reasons = [
    ...(unsigned.some(({ work }) => work > 0)
      ? [
          'work: the report of the device did not come within --settle-after of the control plane, ' +
            'so the plan of the ring says what it did',
        ]
      : []),
    ...(unsigned.some(({ use }) => use > 0)
      ? ['use: an app with an API key asked, which signs nothing, or mesh inference ended before it could sign']
      : []),
  ]
  return [
    'not signed:',
    ...unsigned.map((one) => `- ${one.name} (${shortId(one.deviceId)}): ${kinds(one)}`),
    ...reasons,
    'they are checked like the others; who runs the control plane could make such entries up, ' +
      'but not change them after a check like this one. mesh ledger shows which they are',
  ]
    .map((line) => paragraph(line, columns))
    .join('')
}

/** Whose word stands against that of others. */
const disputedText = (disputed: readonly DisputedOf[], columns: number): string => {
  const listed = (title: string, jobsOf: (one: DisputedOf) => number): string[] => {
    const those = disputed.filter((one) => jobsOf(one) > 0)
    return those.length === 0
      ? []
      : [title, ...those.map((one) => `- ${one.name} (${shortId(one.deviceId)}): ${counted(jobsOf(one), 'job')}`)]
  }
  return [
    ...listed('signed other tokens than most of its ring, which were not billed:', ({ against }) => against),
    ...listed(
      'signed other tokens than the rest of its ring, and nobody can tell who is right (the fewer are billed):',
      ({ undecided }) => undecided,
    ),
  ]
    .map((line) => paragraph(line, columns))
    .join('')
}

/** The sums that the control plane tells must be those of its ledger. @throws MeshError `ledgerInvalid` */
const checkSums = ({ members }: CreditsView, { entries, balances }: LedgerSummary): void => {
  for (const [deviceId, { earned, used }] of balances) {
    const told = members.find((member) => member.deviceId === deviceId)
    if (told?.earned !== earned || told.used !== used) {
      throw new MeshError('ledgerInvalid', {
        sequence: entries,
        problem:
          `device ${shortId(deviceId)} earned ${earned} and used ${used} credits, ` +
          `the control plane says ${told?.earned ?? 0} and ${told?.used ?? 0}`,
      })
    }
  }
}

/** Reads all of it, until nothing was added while the sums were asked for. @throws MeshError `ledgerInvalid` */
const checkAll = async ({ client }: Session, poolId: string, check: LedgerCheck): Promise<Checked> => {
  const params = { poolId }
  for (let after = 0, sums: CreditsView | undefined; ;) {
    const before = after
    for await (const page of ledgerPages(client, poolId, { after })) {
      check.push(page)
      after = page[page.length - 1].sequence
    }
    if (sums && after === before) {
      const summary = check.finish()
      checkSums(sums, summary)
      const names = new Map(sums.members.map(({ deviceId, name }) => [deviceId, name]))
      const named = <T>(counts: ReadonlyMap<string, T>): ({ deviceId: string; name: string } & T)[] =>
        [...counts].map(([deviceId, count]) => ({ deviceId, name: names.get(deviceId) ?? shortId(deviceId), ...count }))
      return { ...summary, unsigned: named(summary.unsigned), disputed: named(summary.disputed) }
    }
    sums = await client.call('credits', { params })
  }
}

export const ledgerVerify = defineCommand({
  name: 'ledger-verify',
  summary: 'check the whole ledger: chain, signatures, amounts, sums (also: mesh ledger verify)',
  details:
    'Everything is computed again on this device, and what was billed is compared with what the devices signed. ' +
    'It remembers the last entry, so that a ledger that is cut or written anew later does not pass.',
  options: ['poolId', 'controlPlane', 'controlPlaneKey', 'json'],
  examples: ['mesh ledger-verify', 'mesh ledger-verify --json'],
  json: Type.Object({
    valid: Type.Literal(true),
    entries: Count,
    jobs: Count,
    signed: Type.Integer({ minimum: 0, description: 'entries that their device signed' }),
    unsigned: Type.Array(UnsignedOf, { description: 'devices with entries that they did not sign' }),
    disputed: Type.Array(DisputedOf, { description: 'devices that signed other tokens than the others of their ring' }),
    head: Hex64,
  }),
  run: async (context, values) => {
    const session = openSession(context, values)
    const { poolId, name } = selectPool(context.home, values.poolId)
    const file = context.home.pool(poolId).ledgerHead
    const known = readChecked(file, KnownHead)
    const { entries, jobs, signed, unsigned, disputed, head } = await checkAll(
      session,
      poolId,
      new LedgerCheck({ poolId, ...(known ? { known } : {}) }),
    )
    if (entries > 0) writeStateJson(file, { sequence: entries, hash: head })
    if (values.json) context.printJson({ valid: true, entries, jobs, signed, unsigned, disputed, head })
    else {
      const { columns } = context.stdout
      context.stdout.write(
        paragraph(
          `the ledger of ${name} holds: ${counted(jobs, 'job')}, ` +
            `${entries} entries (${signed} signed by their device), every job sums to zero`,
          columns,
        ),
      )
      context.stdout.write(unsignedText(unsigned, columns) + disputedText(disputed, columns))
    }
  },
})
