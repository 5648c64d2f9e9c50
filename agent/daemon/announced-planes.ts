/**
 * Addresses of the control plane that members announce: which are tried, how often, and which of them is the right one.
 *
 * All that an address gets is the opening of a TLS handshake. Whoever answers it with the key that is wanted is the
 * control plane; nobody else is sent a byte of a request. What a member can make this device dial is judged
 * (`network/announced-address.ts`) and bounded, for each member and in all.
 */
import { backoffMs } from '../../shared/backoff.ts'
import type { ControlPlaneId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import { putLast } from '../../shared/put-last.ts'
import { withTimeout } from '../../shared/with-timeout.ts'
import { formatDuration } from '../../shared/words.ts'
import { judge, type Resolve, systemResolve } from '../network/announced-address.ts'

/** Where a member says that it reaches its control plane. */
export interface Announcement {
  /** Peer id of the member. */
  readonly from: string
  /** It is reached over a private network, so that what it says of one may be true. */
  readonly isNear: boolean
  /** Best first. */
  readonly urls: readonly string[]
}

export interface AnnouncedPlanesOptions {
  readonly now: () => number
  readonly logger: Logger
  /** The key that whoever answers at an https address proves. @throws Error why nobody does */
  provenKey(url: string, signal: AbortSignal): Promise<ControlPlaneId>
  readonly resolve?: Resolve
  /** The control plane that this device was given is on a private network. */
  isPrivatePool(): boolean
}

/** Milliseconds that one address has for name and handshake: it is near, or the next one is tried. */
const tryMs = 2000
const triesAtOnce = 4
/** Names that are looked up at once: the system takes as long as it likes, in a thread that all of Node shares. */
const namesAtOnce = 1
/** Addresses that one search tries: four members with a machine of four networks each. */
const triesOfSearch = 16
/** Tries in a minute: what one member may cause, and all together. */
const triesOfMember = 16
const triesOfAll = 64
const minuteMs = 60_000
/** An address that did not prove the key is left alone, longer each time. */
const pauses = { firstMs: 1000, longestMs: 15_000 }
/** Failures that are remembered: more addresses than anybody may have tried while the longest pause lasts. */
const mostFailures = 256

interface Candidate {
  readonly url: string
  /** Who may be blamed; `undefined`: this device found it there before. */
  readonly from?: string
  readonly privateWelcome: boolean
}

interface Failure {
  readonly until: number
  /** In a row. */
  readonly times: number
}

/** Of each list the first, then of each the second: nobody's list keeps the others waiting. */
const inTurns = <One>(lists: readonly (readonly One[])[]): One[] => {
  const longest = Math.max(0, ...lists.map(({ length }) => length))
  return Array.from({ length: longest }, (_, index) =>
    lists.flatMap((list) => (index < list.length ? [list[index]] : [])),
  ).flat()
}

/** The first that is found; `undefined` once all have found nothing. None of them rejects. */
const firstFound = (searches: readonly Promise<string | undefined>[]): Promise<string | undefined> =>
  new Promise((resolve) => {
    const ended = searches.map(async (search) => {
      const found = await search
      if (found !== undefined) resolve(found)
    })
    void Promise.all(ended).then(() => resolve(undefined))
  })

export class AnnouncedPlanes {
  readonly #options: AnnouncedPlanesOptions
  readonly #failures = new Map<string, Failure>()
  #names = 0
  /** When addresses were tried, and because of whom. */
  #tries: { readonly at: number; readonly from: string }[] = []

  constructor(options: AnnouncedPlanesOptions) {
    this.#options = options
  }

  /** The network changed: what could not be reached may be there now. */
  forget(): void {
    this.#failures.clear()
  }

  /**
   * The first address at which the control plane with that key answers, as a URL without a name in it.
   * @param remembered where this device found it before
   */
  async find(
    key: ControlPlaneId,
    announced: readonly Announcement[],
    remembered: readonly string[],
  ): Promise<string | undefined> {
    const isPrivatePool = this.#options.isPrivatePool()
    const lists: Candidate[][] = announced.map(({ from, isNear, urls }) =>
      urls.map((url) => ({ url, from, privateWelcome: isNear || isPrivatePool })),
    )
    // at those the key was proven once
    const all = inTurns([...lists, remembered.map((url) => ({ url, privateWelcome: true }))])
    const tried = this.#choose(all)
    for (let first = 0; first < tried.length; first += triesAtOnce) {
      const url = await firstFound(
        tried.slice(first, first + triesAtOnce).map((candidate) => this.#try(key, candidate)),
      )
      if (url !== undefined) return url
    }
    return undefined
  }

  /** Those that may be tried now, each once; what is over a limit is left out. */
  #choose(all: readonly Candidate[]): Candidate[] {
    const now = this.#options.now()
    this.#tries = this.#tries.filter(({ at }) => now - at < minuteMs)
    const chosen = new Map<string, Candidate>()
    for (const candidate of all) {
      const { url, from } = candidate
      if (chosen.size >= triesOfSearch) break
      if (chosen.get(url)?.privateWelcome === false && candidate.privateWelcome) chosen.set(url, candidate)
      if (chosen.has(url) || (this.#failures.get(url)?.until ?? 0) > now) continue
      if (from !== undefined && !this.#allow(from, now)) continue
      chosen.set(url, candidate)
    }
    return [...chosen.values()]
  }

  /** One more try because of what that member said. */
  #allow(from: string, now: number): boolean {
    const isOver =
      this.#tries.length >= triesOfAll || this.#tries.filter((one) => one.from === from).length >= triesOfMember
    if (!isOver) this.#tries.push({ at: now, from })
    return !isOver
  }

  async #try(key: ControlPlaneId, { url, from, privateWelcome }: Candidate): Promise<string | undefined> {
    const { now, logger } = this.#options
    const end = new AbortController()
    try {
      const found = await withTimeout(this.#proven(key, { url, privateWelcome }, end.signal), tryMs, () => {
        end.abort(new Error(`no answer within ${formatDuration(tryMs)}`))
        throw end.signal.reason
      })
      this.#failures.delete(url)
      return found
    } catch (error) {
      const times = this.#failures.get(url)?.times ?? 0
      const failure = { until: now() + backoffMs(times, pauses), times: times + 1 }
      putLast(this.#failures, url, failure, mostFailures)
      logger.debug(
        { url, from, problem: error instanceof Error ? error.message : String(error) },
        'an announced control plane is not used',
      )
      return undefined
    }
  }

  /** @throws Error why it is not the control plane */
  async #proven(key: ControlPlaneId, candidate: Candidate, signal: AbortSignal): Promise<string> {
    const judged = await judge(candidate, (host) => this.#resolve(host))
    if ('problem' in judged) throw new Error(judged.problem)
    let problem = 'nobody answers'
    for (const address of judged.urls) {
      signal.throwIfAborted()
      try {
        if ((await this.#options.provenKey(address, signal)) === key) return address
        problem = 'whoever answers has another key'
      } catch (error) {
        problem = error instanceof Error ? error.message : problem
      }
    }
    throw new Error(problem)
  }

  async #resolve(host: string): Promise<readonly string[]> {
    const { resolve = systemResolve } = this.#options
    if (this.#names >= namesAtOnce) throw new Error('another name is being looked up')
    this.#names++
    try {
      return await resolve(host)
    } finally {
      this.#names--
    }
  }
}
