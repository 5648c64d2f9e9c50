/** The devices of our pools that this one knows of: where each may be, and when it is dialled. */
import type { PeerId } from '@libp2p/interface'
import { Backoff } from '../../shared/backoff.ts'
import { limits } from '../../shared/limits.ts'
import { Whereabouts } from './whereabouts.ts'

/** One device of one pool. */
export interface Candidate {
  readonly poolId: string
  readonly peer: PeerId
  readonly addresses: Whereabouts
  /** It passed the gate, or who knows the members told of it: multicast DNS is open to everybody. */
  isMember: boolean
  readonly backoff: Backoff
  notBefore: number
  /** It is being dialled. */
  busy: boolean
  /** Somebody said in its name that it moved: until then nobody need look again. */
  doubtedUntil: number
}

const pauses = { firstMs: 1000, longestMs: 60_000 }
/** A device that refused us may have been let in since. */
const refusedPauseMs = 5 * 60_000
/** Dials at once: a few, so that a long list of absent devices does not keep the others waiting. */
const dialsAtOnce = 8
/** Dials at once to devices that only multicast DNS told of. */
const announcedDialsAtOnce = 4
/** Most devices of all pools that are kept in mind. Of those that only multicast DNS told of, the one told first makes room. */
const maxCandidates = 4 * limits.worldSize

const keyOf = (poolId: string, peerId: string): string => `${poolId}/${peerId}`

export class PoolCandidates {
  readonly #all = new Map<string, Candidate>()

  /** The one that is known already. */
  find(poolId: string, peer: PeerId): Candidate | undefined {
    return this.#all.get(keyOf(poolId, peer.toString()))
  }

  /** The known one or a new one; `undefined` while there is room for nobody else. */
  take(poolId: string, peer: PeerId): Candidate | undefined {
    const known = this.find(poolId, peer)
    if (known !== undefined) return known
    if (this.#all.size >= maxCandidates) {
      const first = [...this.#all].find(([, { isMember, busy }]) => !isMember && !busy)
      if (first === undefined) return undefined
      this.#all.delete(first[0])
    }
    const candidate: Candidate = {
      poolId,
      peer,
      addresses: new Whereabouts(),
      isMember: false,
      backoff: new Backoff(pauses),
      notBefore: 0,
      busy: false,
      doubtedUntil: 0,
    }
    this.#all.set(keyOf(poolId, peer.toString()), candidate)
    return candidate
  }

  members(): Candidate[] {
    return [...this.#all.values()].filter(({ isMember }) => isMember)
  }

  isMember(poolIds: readonly string[], peerId: string): boolean {
    return poolIds.some((poolId) => this.#all.get(keyOf(poolId, peerId))?.isMember === true)
  }

  /**
   * Those to dial now, members first, as many as may be dialled beside those that are.
   * @param isWanted whether it is of a pool of ours and not connected; asked of those whose pause is over
   */
  due(now: number, isWanted: (candidate: Candidate) => boolean): Candidate[] {
    const all = [...this.#all.values()].toSorted((a, b) => Number(b.isMember) - Number(a.isMember))
    const dialled = all.filter(({ busy }) => busy)
    let free = dialsAtOnce - dialled.length
    let freeForAnnounced = announcedDialsAtOnce - dialled.filter(({ isMember }) => !isMember).length
    const due: Candidate[] = []
    for (const candidate of all) {
      if (free <= 0 || (!candidate.isMember && freeForAnnounced <= 0)) break
      const { busy, notBefore, addresses } = candidate
      if (busy || notBefore > now || addresses.isEmpty || !isWanted(candidate)) continue
      free--
      if (!candidate.isMember) freeForAnnounced--
      due.push(candidate)
    }
    return due
  }

  /** All are tried anew: the network is another one. */
  startAnew(): void {
    for (const candidate of this.#all.values()) reached(candidate)
  }
}

/** It was dialled, or there is reason to think that it can be. */
export const reached = (candidate: Candidate): void => {
  candidate.backoff.reset()
  candidate.notBefore = 0
}

/** It was dialled in vain. @param isRefusal it answered, and will not change its mind soon */
export const missed = (candidate: Candidate, now: number, isRefusal: boolean): void => {
  const pauseMs = candidate.backoff.fail()
  candidate.notBefore = now + (isRefusal ? refusedPauseMs : pauseMs)
}

/** It may be where nobody looked yet: the next try is the pause of now away at most. */
export const hoped = (candidate: Candidate, now: number): void => {
  candidate.notBefore = Math.min(candidate.notBefore, now + candidate.backoff.nextMs)
}
