/** How much of a busy ring each member gets: what it contributed lately, with a grace for newcomers. */
import { dealOut } from '../../shared/ledger/settlement.ts'

export interface Contributor {
  readonly deviceId: string
  /** Credits within the window that counts. */
  readonly earned: number
  /** When it first took part in the pool. */
  readonly since: number
}

export interface GraceSettings {
  /** How long a member counts as a newcomer, in milliseconds. */
  readonly graceMs: number
  /** Parts per million that a newcomer gets at least. */
  readonly graceShare: number
}

/** All of it: shares are parts per million. */
export const wholeShare = 1_000_000
/** Of a member that contributed nothing: 0.1 %, so that its jobs end some day even where the ring is never idle. */
const leastShare = 1000

const isEarnless = (members: readonly Contributor[]): boolean => members.every(({ earned }) => earned === 0)

/** Parts per million of what all earned; all zero where nobody earned anything. */
export const contributionShares = (members: readonly Contributor[]): Map<string, number> => {
  const shares = isEarnless(members)
    ? members.map(() => 0)
    : dealOut(
        wholeShare,
        members.map(({ earned }) => BigInt(earned)),
      )
  return new Map(members.map(({ deviceId }, index) => [deviceId, shares[index]]))
}

/** Weights for the queue, by device; above zero. Equal for all as long as nobody has earned anything. */
export const queueWeights = (
  members: readonly Contributor[],
  now: number,
  { graceMs, graceShare }: GraceSettings,
): Map<string, number> => {
  if (isEarnless(members))
    return new Map(members.map(({ deviceId }) => [deviceId, Math.ceil(wholeShare / members.length)]))
  const shares = contributionShares(members)
  return new Map(
    members.map(({ deviceId, since }) => [
      deviceId,
      Math.max(shares.get(deviceId) ?? 0, now < since + graceMs ? graceShare : 0, leastShare),
    ]),
  )
}
