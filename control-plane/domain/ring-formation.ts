/** When a ring gets a new epoch, and of whom: a pure decision over what is known now. */
import type { MeshError } from '../../shared/errors.ts'
import type { ErrorReportJson } from '../../shared/schema/common.ts'
import { limits } from '../../shared/limits.ts'

export interface IntentState {
  readonly deviceId: string
  readonly name: string
  readonly share: number
  /** Its agent is connected and showed a valid certificate of the pool. */
  readonly available: boolean
  /** Its agent is connected, whatever its certificate says; absent: as `available`. */
  readonly online?: boolean
  /** While it is not available: how long a ring that it is part of waits for it. */
  readonly awaitedUntil: number
  /** It announces an address that the current epoch does not name: it was started again, and peers would miss it. */
  readonly moved: boolean
  /** Why it cannot hold any part of the model; absent when it can. */
  readonly noRoom?: MeshError
  /** The current epoch gives it more than it has room for now: it locked less since. */
  readonly overfull?: boolean
  /** It kept the ring from working, and has not shown yet that it does so no more. */
  readonly leftOut?: {
    /** When it is tried again. */
    readonly until: number
    /** It can show that it loads its part before anybody waits for it. */
    readonly canTry: boolean
    readonly problem: string
  }
}

/** What a member of the current epoch said last about it. */
export interface MemberReport {
  readonly state: 'waiting' | 'loading' | 'ready' | 'failed'
  readonly error?: ErrorReportJson
}

export interface RingInput {
  /** In order of joining; that is the order of ranks. */
  readonly intents: readonly IntentState[]
  /** Members of the newest epoch, by rank; empty before the first. */
  readonly current: readonly { readonly deviceId: string; readonly share: number }[]
  readonly reports: ReadonlyMap<string, MemberReport>
  /** A job runs on the current epoch. */
  readonly busy: boolean
  readonly now: number
  /** No other epoch before this time: changes that come together make one epoch, failures do not make a storm. */
  readonly retryAt: number
  /** Why the model does not fit on these devices, if so. Absent: it does. */
  misfitOf?(intents: readonly IntentState[]): MeshError | undefined
}

export type Decision =
  | { readonly action: 'activate' }
  /** `cause`: the members or their shares changed, or the epoch that is there cannot work. */
  | { readonly action: 'form'; readonly cause: 'change' | 'failure'; readonly members: readonly string[] }
  /** Nobody wants to serve any more. */
  | { readonly action: 'dissolve' }
  /** `again`: when to look again even if nothing happens. `misfit`: no device that is there can hold a part. */
  | { readonly action: 'wait'; readonly reason: string; readonly again?: number; readonly misfit?: MeshError }
  /** The same, and the current epoch takes more than was locked: it ends. */
  | { readonly action: 'withdraw'; readonly misfit: MeshError }

const list = (names: readonly string[]): string =>
  names.length <= 2 ? names.join(' and ') : `${names.slice(0, 2).join(', ')} and ${names.length - 2} more`

/** Why nobody can serve: they are away, or connected and their certificates do not hold. */
const nobodyThere = (intents: readonly IntentState[]): string => {
  const unproven = intents.filter(({ online, available }) => online && !available).map(({ name }) => name)
  if (unproven.length === 0) return `no device is online; ${list(intents.map(({ name }) => name))} would serve it`
  return (
    `${list(unproven)} ${unproven.length === 1 ? 'is' : 'are'} online, ` +
    `but ${unproven.length === 1 ? 'its' : 'their'} membership of the pool is over: an admin's agent renews it`
  )
}

/**
 * Who shall be in the ring now. Who is left out comes back by showing that it can load; or, where it cannot show that
 * or the others are not enough, when its pause is over.
 */
const wantedOf = ({
  intents,
  now,
  misfitOf = () => undefined,
}: RingInput): { readonly wanted: readonly IntentState[]; readonly misfit: MeshError | undefined } => {
  const able = intents.filter(({ available, noRoom }) => available && noRoom === undefined)
  const first = (choose: (leftOut: NonNullable<IntentState['leftOut']>) => boolean): readonly IntentState[] =>
    able.filter(({ leftOut }) => leftOut === undefined || choose(leftOut)).slice(0, limits.worldSize)
  const wanted = first(({ until, canTry }) => !canTry && until <= now)
  const misfit = wanted.length === 0 ? undefined : misfitOf(wanted)
  if (wanted.length > 0 && misfit === undefined) return { wanted, misfit }
  const withDue = first(({ until }) => until <= now)
  if (withDue.length > wanted.length && misfitOf(withDue) === undefined) return { wanted: withDue, misfit: undefined }
  return { wanted, misfit }
}

/** What there is to wait for while no device may serve. */
const nobodyWanted = ({ intents, current }: RingInput): Decision => {
  const leftOut = intents.filter(({ available, leftOut: out }) => available && out)
  if (leftOut.length > 0)
    return { action: 'wait', reason: leftOut.map(({ name, leftOut: out }) => `${name}: ${out?.problem}`).join('; ') }
  const full = intents.find(({ available, noRoom }) => available && noRoom !== undefined)
  if (full?.noRoom === undefined) return { action: 'wait', reason: nobodyThere(intents) }
  const isMember = current.some(({ deviceId }) => deviceId === full.deviceId)
  return isMember
    ? { action: 'withdraw', misfit: full.noRoom }
    : { action: 'wait', reason: full.noRoom.message, misfit: full.noRoom }
}

export const decideRing = (input: RingInput): Decision => {
  const { intents, current, reports, busy, now, retryAt } = input
  if (intents.length === 0 && !busy) return { action: 'dissolve' }
  const { wanted, misfit } = wantedOf(input)
  const isSame =
    wanted.length === current.length &&
    current.every(({ deviceId, share }, rank) => wanted[rank].deviceId === deviceId && wanted[rank].share === share)
  const isReady =
    isSame && current.length > 0 && current.every(({ deviceId }) => reports.get(deviceId)?.state === 'ready')
  const isOverfull = wanted.some(({ overfull }) => overfull)
  const isTriedAgain = wanted.some(({ leftOut }) => leftOut)
  if (isReady && !isTriedAgain && (!isOverfull || busy)) return { action: 'activate' }
  // Links of a running job must not be cut by a newcomer; a job that lost a member ends by itself first.
  if (busy) return { action: 'wait', reason: 'a job runs' }
  if (wanted.length === 0) return nobodyWanted(input)

  const lost = intents.filter(
    ({ deviceId, available, leftOut }) =>
      !available && !leftOut && current.some((member) => member.deviceId === deviceId),
  )
  const until = Math.max(...lost.map(({ awaitedUntil }) => awaitedUntil), 0)
  if (lost.length > 0 && now < until)
    return { action: 'wait', reason: `waiting for ${list(lost.map(({ name }) => name))}`, again: until }
  const form = (cause: 'change' | 'failure', reason: string): Decision => {
    if (misfit)
      return intents.some(({ overfull }) => overfull)
        ? { action: 'withdraw', misfit }
        : { action: 'wait', reason: misfit.message, misfit }
    return now < retryAt
      ? { action: 'wait', reason, again: retryAt }
      : { action: 'form', cause, members: wanted.map(({ deviceId }) => deviceId) }
  }
  const isMoved = wanted.some(({ deviceId, moved }) => moved && reports.get(deviceId)?.state !== 'ready')
  if (!isSame || isTriedAgain || isOverfull || isMoved) return form('change', 'forming again soon')
  return decideLoading(wanted, reports, (reason) => form('failure', `forming again: ${reason}`))
}

/** The members are the right ones, and not all are ready. Who keeps failing is left out by `RingHealth`. */
const decideLoading = (
  members: readonly IntentState[],
  reports: RingInput['reports'],
  formAgain: (reason: string) => Decision,
): Decision => {
  const failed = members.find(({ deviceId }) => reports.get(deviceId)?.state === 'failed')
  if (failed) return formAgain(`${failed.name}: ${reports.get(failed.deviceId)?.error?.message ?? 'it failed'}`)
  const pending = members.filter(({ deviceId }) => reports.get(deviceId)?.state !== 'ready').map(({ name }) => name)
  return { action: 'wait', reason: `${list(pending)} ${pending.length === 1 ? 'is' : 'are'} loading` }
}
