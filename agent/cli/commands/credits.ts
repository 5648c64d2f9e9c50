import { shortId } from '../../../shared/ids.ts'
import { CreditsView } from '../../../shared/schema/credits.ts'
import { selectPool } from '../../device/pools.ts'
import { defineCommand } from '../command.ts'
import { counted, paragraph, table } from '../render.ts'
import { openSession } from '../session.ts'

/** `12.5 %` of parts per million. */
export const shareText = (share: number): string => `${(share / 10_000).toFixed(1)} %`

/** Credits with a space between thousands, so that they can be read aloud. */
export const creditText = (credits: number): string => String(credits).replaceAll(/\B(?=(\d{3})+$)/g, ' ')

export const credits = defineCommand({
  name: 'credits',
  summary: 'who contributed and used how much of the pool',
  details:
    'One credit is a million multiply-adds: a million weights of a model times one token. ' +
    'Shares count what is recent, and decide who gets how much when the pool is busy; nobody is ever refused.',
  options: ['poolId', 'controlPlane', 'controlPlaneKey', 'json'],
  examples: ['mesh credits', 'mesh credits --json'],
  json: CreditsView,
  run: async (context, values) => {
    const { device, client } = openSession(context, values)
    const pool = selectPool(context.home, values.poolId)
    const view = await client.call('credits', { params: { poolId: pool.poolId } })
    if (values.json) {
      context.printJson(view)
      return
    }
    if (view.members.length === 0)
      context.stdout.write(
        `nobody has contributed or used anything in pool ${pool.name} yet: ` +
          `mesh inference --prompt "Once upon a time"\n`,
      )
    else {
      context.stdout.write(
        table(
          ['device', 'name', 'contributed', 'used', 'balance', 'recent share', 'of recent use', 'of a busy pool'],
          view.members.map((member) => [
            shortId(member.deviceId),
            member.deviceId === device.deviceId ? `${member.name} (this device)` : member.name,
            creditText(member.earned),
            creditText(member.used),
            creditText(member.earned - member.used),
            shareText(member.contributionShare),
            shareText(member.useShare),
            shareText(member.queueShare) + (member.newUntil === undefined ? '' : ' (new)'),
          ]),
          { columns: context.stdout.columns },
        ),
      )
      const unsettled = view.unsettled > 0 ? `; ${counted(view.unsettled, 'job')} not settled yet` : ''
      context.stdout.write(
        paragraph(
          `recent: the last ${counted(Math.round(view.windowMs / 86_400_000), 'day')}${unsettled}`,
          context.stdout.columns,
        ),
      )
    }
  },
})
