/**
 * Finds the members of one epoch that keep it from working: who stands still while it loads, is last for too long, or
 * has no links.
 */
import { MeshError } from '../../shared/errors.ts'
import type { ErrorReportJson } from '../../shared/schema/common.ts'
import type { Loading } from '../../shared/schema/ring.ts'
import type { BadLink } from './blame.ts'
import { begunAnew, type LoadWatch, watched, watchFrom } from './load-watch.ts'

/** A member of an epoch. Lists of them are by rank. */
export interface Member {
  readonly deviceId: string
  readonly name: string
}

/** What a member said last of its epoch; `waiting`: nothing. */
export interface Said {
  readonly state: 'waiting' | 'loading' | 'ready' | 'failed'
  readonly progress: number
  readonly loading?: Loading
  readonly error?: ErrorReportJson
}

/** Members that are there, and what each said last. */
export type SaidBy = ReadonlyMap<string, Said>

export interface Stall {
  readonly deviceId: string
  readonly error: ErrorReportJson
}

/** Links that are missing when they should all be there; `last`: who it is when nobody tells which. */
export interface MissingLinks {
  readonly links: readonly BadLink[]
  readonly last: Stall
}

export interface WatchSettings {
  /** Milliseconds in which a member that loads gets on, or counts as failed. */
  readonly silenceMs: number
  /** The others wait at most so long for the last one, however much it gets on. */
  readonly longestLoadMs: number
}

/** Links have two of the times: they are put together after everybody has loaded. */
const linkTimes = 2

/** It loads, or shall: links come later. */
const isLoading = (said: Said | undefined): boolean =>
  said?.state === 'waiting' || (said?.state === 'loading' && said.loading?.phase !== 'linking')
const isLinking = (said: Said | undefined): boolean => said?.state === 'loading' && said.loading?.phase === 'linking'

/** Who tells no bytes tells a part of the whole. */
export const loadingOf = ({ loading, progress }: Said): Loading =>
  loading ?? { phase: 'checking', bytes: Math.round(progress * 1e6), totalBytes: 1e6 }

/** The error of a member that stood still for that time. */
export const stalled = (peer: string, { state, loading }: Said, ms: number): ErrorReportJson => {
  const problem =
    state === 'waiting' ? 'did not say that it loads' : `did not get on with ${loading?.phase ?? 'loading'}`
  return new MeshError('loadStalled', { peer, problem, seconds: ms / 1000 }).toReport()
}

export class EpochWatch {
  readonly #settings: WatchSettings
  readonly #watches = new Map<string, LoadWatch>()
  /** Since when every member has loaded; with how many links that lack. */
  #linking: { readonly since: number; readonly missing: number } | undefined
  /** Since when all others wait for that one. */
  #last: { readonly deviceId: string; readonly since: number } | undefined

  constructor(members: readonly Member[], settings: WatchSettings, now: number) {
    this.#settings = settings
    for (const { deviceId } of members) this.#watches.set(deviceId, watchFrom(now))
  }

  /** A member said how its loading goes. */
  heard(deviceId: string, said: Said, now: number): void {
    this.#watches.set(deviceId, watched(this.#watches.get(deviceId) ?? watchFrom(now), loadingOf(said), now))
  }

  /** Another process of it, or another connection: it begins again, as often as the watch allows. */
  greeted(deviceId: string, now: number): void {
    const watch = this.#watches.get(deviceId)
    if (watch) this.#watches.set(deviceId, begunAnew(watch, now))
  }

  /** Who stands still, or is last for too long. */
  stalls(members: readonly Member[], said: SaidBy, now: number): Stall[] {
    const { silenceMs } = this.#settings
    const found = members.flatMap(({ deviceId, name }): Stall[] => {
      const own = said.get(deviceId)
      return own && isLoading(own) && now - this.#atOf(deviceId, now) >= silenceMs
        ? [{ deviceId, error: stalled(name, own, silenceMs) }]
        : []
    })
    const last = this.#lookAtLast(members, said, now)
    return last ? [...found, last] : found
  }

  /** Links that lack although all have loaded long enough. */
  missingLinks(members: readonly Member[], said: SaidBy, now: number): MissingLinks | undefined {
    const ms = linkTimes * this.#settings.silenceMs
    const pending = members.filter(({ deviceId }) => isLinking(said.get(deviceId)))
    if (
      pending.length === 0 ||
      members.some(({ deviceId }) => !isLinking(said.get(deviceId)) && said.get(deviceId)?.state !== 'ready')
    ) {
      this.#linking = undefined
      return undefined
    }
    const links = pending.flatMap(({ deviceId }) =>
      (said.get(deviceId)?.loading?.missing ?? []).flatMap((rank) =>
        members[rank] ? [{ by: deviceId, of: members[rank].deviceId }] : [],
      ),
    )
    // each link that comes is time for the others
    if (this.#linking === undefined || links.length < this.#linking.missing)
      this.#linking = { since: now, missing: links.length }
    if (now - this.#linking.since < ms) return undefined
    const { deviceId, name } = pending[pending.length - 1]
    return { links, last: { deviceId, error: stalled(name, said.get(deviceId) as Said, ms) } }
  }

  /** When to look again; `undefined`: nothing is waited for. */
  next(members: readonly Member[], said: SaidBy): number | undefined {
    const { silenceMs, longestLoadMs } = this.#settings
    const times = members.flatMap(({ deviceId }) =>
      isLoading(said.get(deviceId)) ? [this.#atOf(deviceId, 0) + silenceMs] : [],
    )
    if (this.#linking) times.push(this.#linking.since + linkTimes * silenceMs)
    if (this.#last) times.push(this.#last.since + longestLoadMs)
    return times.length === 0 ? undefined : Math.min(...times)
  }

  #atOf(deviceId: string, now: number): number {
    return this.#watches.get(deviceId)?.at ?? now
  }

  #lookAtLast(members: readonly Member[], said: SaidBy, now: number): Stall | undefined {
    const { longestLoadMs } = this.#settings
    const [last, another] = members.filter(({ deviceId }) => isLoading(said.get(deviceId)))
    if (!last || another || members.length === 1) this.#last = undefined
    else if (this.#last?.deviceId !== last.deviceId) this.#last = { deviceId: last.deviceId, since: now }
    if (!this.#last || now - this.#last.since < longestLoadMs) return undefined
    return {
      deviceId: last.deviceId,
      error: new MeshError('loadStalled', {
        peer: last.name,
        problem: 'was not done with loading',
        seconds: longestLoadMs / 1000,
      }).toReport(),
    }
  }
}
