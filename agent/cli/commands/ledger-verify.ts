import { Type } from 'typebox'
import { MeshError } from '../../../shared/errors.ts'
import { writeStateJson } from '../../../shared/home.ts'
import { shortId } from '../../../shared/ids.ts'
import { LedgerCheck, type LedgerSummary } from '../../../shared/ledger/verify.ts'
import { Count, Hex64 } from '../../../shared/schema/common.ts'
import type { CreditsView } from '../../../shared/schema/credits.ts'
import { readChecked } from '../../device/checked-state.ts'
import { selectPool } from '../../device/pools.ts'
import { defineCommand } from '../command.ts'
import { counted } from '../render.ts'
import { ledgerPages } from '../ledger-pages.ts'
import { openSession, type Session } from '../session.ts'

/** Head of the last check that held: nobody can cut or write anew what comes before it without being found. */
const KnownHead = Type.Object({ sequence: Count, hash: Hex64 })

/** The sums that the control plane tells must be those of its ledger. @throws MeshError `ledgerInvalid` */
const checkSums = ({ members }: CreditsView, { entries, balances }: LedgerSummary): void => {
  for (const [deviceId, { earned, used }] of balances) {
    const told = members.find((member) => member.deviceId === deviceId)
    if (told?.earned !== earned || told.used !== used) {
      throw new MeshError('ledgerInvalid', { sequence: entries, problem: `device ${shortId(deviceId)} earned ${earned} and used ${used} credits, the control plane says ${told?.earned ?? 0} and ${told?.used ?? 0}` })
    }
  }
}

/** Reads all of it, until nothing was added while the sums were asked for. @throws MeshError `ledgerInvalid` */
const checkAll = async ({ client }: Session, poolId: string, check: LedgerCheck): Promise<LedgerSummary> => {
  const params = { poolId }
  for (let after = 0, sums: CreditsView | undefined; ; ) {
    const before = after
    for await (const page of ledgerPages(client, poolId, { after })) {
      check.push(page)
      after = page[page.length - 1].sequence
    }
    if (sums && after === before) {
      const summary = check.finish()
      checkSums(sums, summary)
      return summary
    }
    sums = await client.call('credits', { params })
  }
}

export const ledgerVerify = defineCommand({
  name: 'ledger-verify',
  summary: 'check the whole ledger: chain, signatures, amounts, sums (also: mesh ledger verify)',
  details: 'Everything is computed again on this device. It remembers the last entry, so that a ledger that is cut or written anew later does not pass.',
  options: ['poolId', 'controlPlane', 'json'],
  examples: ['mesh ledger-verify', 'mesh ledger-verify --json'],
  json: Type.Object({
    valid: Type.Literal(true), entries: Count, jobs: Count,
    signed: Type.Integer({ minimum: 0, description: 'entries that their device signed' }),
    head: Hex64,
  }),
  run: async (context, values) => {
    const session = openSession(context, values)
    const { poolId, name } = selectPool(context.home, values.poolId)
    const file = context.home.pool(poolId).ledgerHead
    const known = readChecked(file, KnownHead)
    const { entries, jobs, signed, head } = await checkAll(session, poolId, new LedgerCheck({ poolId, ...(known ? { known } : {}) }))
    if (entries > 0) writeStateJson(file, { sequence: entries, hash: head })
    if (values.json) context.printJson({ valid: true, entries, jobs, signed, head })
    else context.stdout.write(`the ledger of ${name} holds: ${counted(jobs, 'job')}, ${entries} entries (${signed} signed by their device), every job sums to zero\n`)
  },
})
