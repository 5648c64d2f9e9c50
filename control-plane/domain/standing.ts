/** What `mesh credits` and `mesh quota` show of each member. */
import { dealOut } from '../../shared/ledger/settlement.ts'
import type { Standing } from '../../shared/schema/credits.ts'
import { contributionShares, type GraceSettings, queueWeights, wholeShare } from './queue-share.ts'

type Sums = Pick<Standing, 'deviceId' | 'earned' | 'used' | 'recentlyEarned' | 'recentlyUsed'>

/** Parts per million of the whole, which sum to it where anything is there. */
const partsOf = (amounts: readonly number[]): number[] =>
  amounts.every((amount) => amount === 0) ? amounts.map(() => 0) : dealOut(wholeShare, amounts.map(BigInt))

/** @returns one standing per member, in the given order */
export const standingsOf = (
  members: readonly { readonly deviceId: string; readonly since: number }[],
  sums: readonly Sums[],
  now: number,
  grace: GraceSettings,
): Omit<Standing, 'name'>[] => {
  const of = new Map(sums.map((sum) => [sum.deviceId, sum]))
  const all = members.map(({ deviceId, since }) => ({
    since,
    ...(of.get(deviceId) ?? { deviceId, earned: 0, used: 0, recentlyEarned: 0, recentlyUsed: 0 }),
  }))
  const contributors = all.map(({ deviceId, since, recentlyEarned }) => ({ deviceId, since, earned: recentlyEarned }))
  const contributed = contributionShares(contributors)
  const weights = queueWeights(contributors, now, grace)
  const used = partsOf(all.map(({ recentlyUsed }) => recentlyUsed))
  const queue = partsOf(all.map(({ deviceId }) => weights.get(deviceId) ?? 0))
  return all.map(({ since, ...sum }, index) => ({
    ...sum,
    contributionShare: contributed.get(sum.deviceId) ?? 0,
    useShare: used[index],
    queueShare: queue[index],
    ...(now < since + grace.graceMs ? { newUntil: since + grace.graceMs } : {}),
  }))
}
