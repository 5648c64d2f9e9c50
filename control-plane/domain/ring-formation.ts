/** When a ring gets a new epoch, and of whom: a pure decision over what is known now. */
import type { MeshError } from '../../shared/errors.ts'
import type { ErrorReportJson } from '../../shared/schema/common.ts'
import { limits } from '../../shared/wire/limits.ts'

export interface WishState {
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
}

/** What a member of the current epoch said last about it. */
export interface MemberReport {
  readonly state: 'waiting' | 'loading' | 'ready' | 'failed'
  readonly error?: ErrorReportJson
}

export interface RingInput {
  /** In order of joining; that is the order of ranks. */
  readonly wishes: readonly WishState[]
  /** Members of the newest epoch, by rank; empty before the first. */
  readonly current: readonly { readonly deviceId: string; readonly share: number }[]
  readonly reports: ReadonlyMap<string, MemberReport>
  /** A job runs on the current epoch. */
  readonly busy: boolean
  readonly now: number
  /** No other epoch before this time: changes that come together make one epoch, failures do not make a storm. */
  readonly retryAt: number
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

/** Failures of links and timing: another epoch with the same members may work. */
const passing = new Set(['peerLost', 'peerUnreachable', 'collectiveTimeout', 'epochStale', 'backendFailed', 'gateRefused', 'peerInvalid', 'peerFailed', 'relayLost'])

const list = (names: readonly string[]): string => (names.length <= 2 ? names.join(' and ') : `${names.slice(0, 2).join(', ')} and ${names.length - 2} more`)

/** Why nobody can serve: they are away, or connected and their certificates do not hold. */
const nobodyThere = (wishes: readonly WishState[]): string => {
  const unproven = wishes.filter(({ online, available }) => online && !available).map(({ name }) => name)
  if (unproven.length === 0) return `no device is online; ${list(wishes.map(({ name }) => name))} would serve it`
  return `${list(unproven)} ${unproven.length === 1 ? 'is' : 'are'} online, but ${unproven.length === 1 ? 'its' : 'their'} membership of the pool is over: an admin's agent renews it`
}

export const decideRing = (input: RingInput): Decision => {
  const { wishes, current, reports, busy, now, retryAt } = input
  const wanted = wishes.filter(({ available, noRoom }) => available && noRoom === undefined).slice(0, limits.worldSize)
  const isSame = wanted.length === current.length && current.every(({ deviceId, share }, rank) => wanted[rank].deviceId === deviceId && wanted[rank].share === share)
  const isReady = isSame && current.length > 0 && current.every(({ deviceId }) => reports.get(deviceId)?.state === 'ready')
  const isOverfull = wanted.some(({ overfull }) => overfull)
  if (isReady && (!isOverfull || busy)) return { action: 'activate' }
  // Links of a running job must not be cut by a newcomer; a job that lost a member ends by itself first.
  if (busy) return { action: 'wait', reason: 'a job runs' }
  if (wishes.length === 0) return current.length > 0 ? { action: 'dissolve' } : { action: 'wait', reason: 'no device serves this model' }
  const full = wishes.find(({ available, noRoom }) => available && noRoom !== undefined)
  if (wanted.length === 0 && full?.noRoom !== undefined) {
    const isMember = current.some(({ deviceId }) => deviceId === full.deviceId)
    return isMember ? { action: 'withdraw', misfit: full.noRoom } : { action: 'wait', reason: full.noRoom.message, misfit: full.noRoom }
  }
  if (wanted.length === 0) return { action: 'wait', reason: nobodyThere(wishes) }

  const lost = wishes.filter(({ deviceId, available }) => !available && current.some((member) => member.deviceId === deviceId))
  const until = Math.max(...lost.map(({ awaitedUntil }) => awaitedUntil), 0)
  if (lost.length > 0 && now < until) return { action: 'wait', reason: `waiting for ${list(lost.map(({ name }) => name))}`, again: until }
  const form = (cause: 'change' | 'failure', reason: string): Decision =>
    now < retryAt ? { action: 'wait', reason, again: retryAt } : { action: 'form', cause, members: wanted.map(({ deviceId }) => deviceId) }
  if (!isSame || isOverfull || wanted.some(({ deviceId, moved }) => moved && reports.get(deviceId)?.state !== 'ready')) return form('change', 'forming again soon')
  return decideLoading(wanted, reports, (reason) => form('failure', `forming again: ${reason}`))
}

/** The member that keeps an epoch from working, whatever its links do: somebody has to mend something there. */
export const blockingMember = <Member extends { readonly deviceId: string }>(members: readonly Member[], reports: RingInput['reports']): Member | undefined =>
  members.find(({ deviceId }) => {
    const report = reports.get(deviceId)
    return report?.state === 'failed' && !passing.has(report.error?.code ?? '')
  })

/** The members are the right ones, and not all are ready. */
const decideLoading = (members: readonly WishState[], reports: RingInput['reports'], formAgain: (reason: string) => Decision): Decision => {
  const failed = members.filter(({ deviceId }) => reports.get(deviceId)?.state === 'failed')
  const problemOf = ({ deviceId }: WishState): string => reports.get(deviceId)?.error?.message ?? 'it failed'
  const blocking = blockingMember(members, reports)
  if (blocking) return { action: 'wait', reason: `${blocking.name}: ${problemOf(blocking)}` }
  if (failed.length > 0) return formAgain(problemOf(failed[0]))
  const pending = members.filter(({ deviceId }) => reports.get(deviceId)?.state !== 'ready').map(({ name }) => name)
  return { action: 'wait', reason: `${list(pending)} ${pending.length === 1 ? 'is' : 'are'} loading` }
}
