/**
 * Who it lies with when an epoch or a job fails: what members say of themselves and of each other, as pure decisions.
 */
import type { ErrorReportJson } from '../../shared/schema/common.ts'

/** A member says that it has no link to another one, or lost it. */
export interface BadLink {
  readonly by: string
  readonly of: string
}

/** Members of an epoch, by rank. */
type Ranks = readonly { readonly deviceId: string }[]

/**
 * `own`: somebody has to mend something on that device. `backend`: what computes there failed, and starts again.
 * `link`: it lies with it or with another one.
 */
type Fault = 'own' | 'backend' | 'link'

const linkCodes: readonly string[] = [
  'peerLost',
  'peerUnreachable',
  'collectiveTimeout',
  'epochStale',
  'gateRefused',
  'peerInvalid',
  'peerFailed',
  'relayLost',
]
const backendCodes: readonly string[] = ['backendFailed', 'rankFailed']

/** What a member said of its own epoch. */
export const faultOf = (error: ErrorReportJson | undefined): Fault => {
  const code = error?.code ?? ''
  if (linkCodes.includes(code)) return 'link'
  return backendCodes.includes(code) ? 'backend' : 'own'
}

/** The member that an error names by its rank. */
export const namedIn = (members: Ranks, error: ErrorReportJson | undefined): string | undefined => {
  const rank = error?.fields?.rank
  return typeof rank === 'number' ? members[rank]?.deviceId : undefined
}

/** How a job ends whose prompt is wrong, or that nobody wants any more; and where the ring only changed. */
const harmlessCodes: readonly string[] = [
  'promptTooLong',
  'promptTooLarge',
  'promptEmpty',
  'promptUnreadable',
  'parameterInvalid',
  'tokenOutsideVocabulary',
  'chatTemplateMissing',
  'modelConfigInvalid',
  'requestInvalid',
  'jobCancelled',
  'jobLost',
  'peerRemoved',
  'epochStale',
]
/** It cannot compute, or computes what cannot be right, while its links hold. */
const computeCodes: readonly string[] = ['rankFailed', 'peerInvalid']

/** The member that a job failed of, as rank 0 tells it: the rank that it names, else itself. */
export const blamedForJob = (
  members: Ranks,
  error: ErrorReportJson,
): { readonly deviceId: string; readonly fault: 'silent' | 'job' | 'link' } | undefined => {
  // it says nothing any more
  if (error.code === 'jobStalled' && members[0]) return { deviceId: members[0].deviceId, fault: 'silent' }
  const named = namedIn(members, error)
  const deviceId = named ?? members[0]?.deviceId
  if (deviceId === undefined || harmlessCodes.includes(error.code)) return undefined
  if (linkCodes.includes(error.code) && !computeCodes.includes(error.code))
    return named === undefined ? undefined : { deviceId, fault: 'link' }
  return { deviceId: computeCodes.includes(error.code) ? deviceId : members[0].deviceId, fault: 'job' }
}

/**
 * The member that is missing links with most others. Between equals: who complains of one that does not complain back,
 * because that one has its links; else the one that joined last.
 * @param links also of earlier epochs: who falls out with one after another is no victim of all
 * @param members by rank
 */
export const worstLinked = (
  links: readonly BadLink[],
  members: readonly string[],
): { readonly deviceId: string; readonly others: readonly string[] } | undefined => {
  const othersOf = (deviceId: string): string[] => [
    ...new Set(links.flatMap(({ by, of }) => (by === deviceId ? [of] : of === deviceId ? [by] : []))),
  ]
  const isOneSided = (deviceId: string): boolean =>
    links.some(({ by, of }) => by === deviceId && !links.some((back) => back.by === of && back.of === by))
  const found = members
    .map((deviceId, rank) => ({ deviceId, rank, others: othersOf(deviceId) }))
    .filter(({ others }) => others.length > 0)
  const [worst] = found.toSorted(
    (a, b) =>
      b.others.length - a.others.length ||
      Number(isOneSided(b.deviceId)) - Number(isOneSided(a.deviceId)) ||
      b.rank - a.rank,
  )
  return worst && { deviceId: worst.deviceId, others: worst.others }
}
