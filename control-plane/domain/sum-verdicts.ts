/**
 * What the spot checks of a ring say about each of its members. One accuser may lie, or be what is broken itself, so
 * its word names a member and does no more: a member's sums count as wrong when two others at least say so, and more
 * than half of those that checked it. Members that are found wrong have no say about the others. Pure.
 */
import type { RankCheck, SumVerdict } from '../../shared/schema/ring.ts'

export interface JudgedMember {
  readonly deviceId: string
  readonly verdict: SumVerdict
  /** By all others together. */
  readonly checks: number
  readonly wrong: number
  /** Largest error, as a fraction of the norm. */
  readonly worst: number
  /** Who says that it is wrong. */
  readonly accusers: readonly string[]
  /** In which it was found wrong. */
  readonly jobs: readonly string[]
  /** Why it cannot be checked, where nobody could. */
  readonly problem?: string
}

const leastAccusers = 2

/**
 * Processors whose kernels round as the checks do, shown by measurement. Others may round activations in another way
 * and be right: their members are told of by name, and nothing is done to them.
 */
const measuredProcessors: readonly string[] = ['x64']

/** Whether a member can be found wrong at all. @param arch as its device tells it; unknown: no */
export const isMeasured = (arch: string | undefined): boolean => arch !== undefined && measuredProcessors.includes(arch)

/**
 * @param members device ids, by rank
 * @param said what each member said of the others
 * @param measured whether a member computes on a processor of which it is known how it rounds
 */
export const judgeSums = (
  members: readonly string[],
  said: ReadonlyMap<string, readonly RankCheck[]>,
  measured: (deviceId: string) => boolean = () => true,
): JudgedMember[] => {
  const judge = (unheard: ReadonlySet<string>): JudgedMember[] =>
    members.map((deviceId, rank) => {
      const found = members.flatMap((by) => {
        const one = by === deviceId || unheard.has(by) ? undefined : said.get(by)?.find((check) => check.rank === rank)
        return one ? [{ by, ...one }] : []
      })
      const checked = found.filter(({ checks }) => checks > 0)
      const accusers = checked.filter(({ isWrong }) => isWrong)
      const isConfirmed = accusers.length >= leastAccusers && accusers.length * 2 > checked.length && measured(deviceId)
      const verdict = isConfirmed
        ? 'wrong'
        : accusers.length > 0
          ? 'disputed'
          : checked.length > 0
            ? 'right'
            : 'unchecked'
      const problem = found.find((one) => one.problem !== undefined)?.problem
      return {
        deviceId,
        verdict,
        checks: checked.reduce((sum, { checks }) => sum + checks, 0),
        wrong: checked.reduce((sum, { wrong }) => sum + wrong, 0),
        worst: Math.max(0, ...checked.map(({ worst }) => worst)),
        accusers: accusers.map(({ by }) => by),
        jobs: [...new Set(accusers.flatMap(({ jobs }) => jobs))],
        ...(verdict === 'unchecked' && problem !== undefined ? { problem } : {}),
      }
    })
  /** One after another, who has most accusers first. */
  const wrong = new Map<string, JudgedMember>()
  for (;;) {
    const judged = judge(new Set(wrong.keys()))
    const [next] = judged
      .filter(({ deviceId, verdict }) => verdict === 'wrong' && !wrong.has(deviceId))
      .toSorted((a, b) => b.accusers.length - a.accusers.length)
    if (!next) return judged.map((one) => wrong.get(one.deviceId) ?? one)
    wrong.set(next.deviceId, next)
  }
}
