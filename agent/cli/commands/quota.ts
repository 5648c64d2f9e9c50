import { QuotaView } from '../../../shared/schema/credits.ts'
import { formatTime } from '../../../shared/words.ts'
import { selectPool } from '../../device/pools.ts'
import { defineCommand } from '../command.ts'
import { counted, fields } from '../render.ts'
import { openSession } from '../session.ts'
import { creditText, shareText } from './credits.ts'

export const quota = defineCommand({
  name: 'quota',
  summary: 'what this device gets of the pool when it is busy',
  details:
    'An idle pool serves whoever asks. When several members wait, ' +
    'they take turns so that each gets tokens in proportion to what it contributed lately.',
  options: ['poolId', 'controlPlane', 'controlPlaneKey', 'json'],
  examples: ['mesh quota', 'mesh quota --json'],
  json: QuotaView,
  run: async (context, values) => {
    const { client } = openSession(context, values)
    const pool = selectPool(context.home, values.poolId)
    const view = await client.call('quota', { params: { poolId: pool.poolId } })
    if (values.json) {
      context.printJson(view)
      return
    }
    context.stdout.write(
      fields(
        [
          ['share', `${shareText(view.queueShare)} of a busy pool, all of an idle one`],
          [
            'contributed',
            `${creditText(view.recentlyEarned)} credits lately, ${shareText(view.contributionShare)} of all`,
          ],
          ['used', `${creditText(view.recentlyUsed)} credits lately, ${shareText(view.useShare)} of all`],
          ['balance', `${creditText(view.earned - view.used)} credits`],
          ...(view.newUntil === undefined ? [] : [['newcomer', `until ${formatTime(view.newUntil)}`] as const]),
          ['waiting', `${counted(view.waiting, 'job')} of this device, ${view.waitingOfOthers} of others`],
        ],
        context.stdout.columns,
      ),
    )
  },
})
