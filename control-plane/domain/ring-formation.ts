/** When a ring gets a new epoch, and of whom: a pure decision over what is known now. */
import type { ErrorReportJson } from '../../shared/schema/common.ts'

export interface WishState {
  readonly deviceId: string
  readonly name: string
  readonly online: boolean
  /** Since when it is offline; 0 when that was before we looked. */
  readonly offlineSince: number
}

/** What a member of the current epoch said last about it. */
export interface MemberReport {
  readonly state: 'waiting' | 'loading' | 'ready' | 'failed'
  readonly error?: ErrorReportJson
}

export interface RingInput {
  /** In order of joining; that is the order of ranks. */
  readonly wishes: readonly WishState[]
  /** Device ids of the newest epoch, by rank; empty before the first. */
  readonly current: readonly string[]
  readonly reports: ReadonlyMap<string, MemberReport>
  /** A job runs on the current epoch. */
  readonly busy: boolean
  readonly now: number
  /** How long a lost member may take to come back. */
  readonly graceMs: number
  /** Not before this time after an epoch that failed. */
  readonly retryAt: number
}

export type Decision =
  | { readonly action: 'activate' }
  | { readonly action: 'form'; readonly members: readonly string[] }
  /** `again`: when to look again even if nothing happens. */
  | { readonly action: 'wait'; readonly reason: string; readonly again?: number }

/** Failures of links and timing: another epoch with the same members may work. */
const passing = new Set(['peerLost', 'peerUnreachable', 'collectiveTimeout', 'epochStale', 'backendFailed', 'gateRefused'])

const list = (names: readonly string[]): string => (names.length <= 2 ? names.join(' and ') : `${names.slice(0, 2).join(', ')} and ${names.length - 2} more`)

export const decideRing = ({ wishes, current, reports, busy, now, graceMs, retryAt }: RingInput): Decision => {
  const online = wishes.filter((wish) => wish.online)
  const wanted = online.map(({ deviceId }) => deviceId)
  if (wanted.length === 0) return { action: 'wait', reason: wishes.length === 0 ? 'no device serves this model' : `no device is online; ${list(wishes.map(({ name }) => name))} would serve it` }
  if (current.length === 0) return { action: 'form', members: wanted }

  // Links of a running job must not be cut by a newcomer; a job that lost a member ends by itself first.
  if (busy) return { action: 'wait', reason: 'a job runs' }

  const lost = wishes.filter(({ deviceId, online: here }) => !here && current.includes(deviceId))
  const until = Math.max(...lost.map(({ offlineSince }) => offlineSince + graceMs), 0)
  if (lost.length > 0 && now < until) return { action: 'wait', reason: `waiting for ${list(lost.map(({ name }) => name))}`, again: until }

  const isSame = wanted.length === current.length && current.every((deviceId, rank) => wanted[rank] === deviceId)
  if (!isSame) return now < retryAt ? { action: 'wait', reason: 'forming again soon', again: retryAt } : { action: 'form', members: wanted }

  const nameOf = (deviceId: string): string => wishes.find((wish) => wish.deviceId === deviceId)?.name ?? deviceId
  const failed = current.filter((deviceId) => reports.get(deviceId)?.state === 'failed')
  if (failed.length > 0) {
    const blocking = failed.find((deviceId) => !passing.has(reports.get(deviceId)?.error?.code ?? ''))
    if (blocking !== undefined) return { action: 'wait', reason: `${nameOf(blocking)}: ${reports.get(blocking)?.error?.message ?? 'failed'}` }
    return now < retryAt ? { action: 'wait', reason: `forming again: ${reports.get(failed[0])?.error?.message ?? 'a member failed'}`, again: retryAt } : { action: 'form', members: wanted }
  }
  const pending = current.filter((deviceId) => reports.get(deviceId)?.state !== 'ready')
  return pending.length === 0 ? { action: 'activate' } : { action: 'wait', reason: `${list(pending.map(nameOf))} ${pending.length === 1 ? 'is' : 'are'} loading` }
}
