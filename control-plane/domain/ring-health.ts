/**
 * Which members of one ring keep the others from going on, and how long each is left out. A member strikes when it
 * fails, stands still, has no links, spoils jobs or comes and goes; with enough strikes it is left out by name, and
 * tried again after pauses that grow. Time comes in as an argument; nothing here waits.
 */
import { backoffMs } from '../../shared/backoff.ts'
import { MeshError } from '../../shared/errors.ts'
import type { ErrorReportJson } from '../../shared/schema/common.ts'
import { type BadLink, blamedForJob, faultOf, namedIn, worstLinked } from './blame.ts'
import {
  EpochWatch,
  loadingOf,
  type Member,
  type Said,
  type SaidBy,
  stalled,
  type WatchSettings,
} from './epoch-watch.ts'
import { type LoadWatch, watched, watchFrom } from './load-watch.ts'

export interface HealthSettings extends WatchSettings {
  /** The first pause of a member that is left out; each further one is twice as long. */
  readonly retryMs: number
  readonly longestRetryMs: number
  /** A member that took part for so long has made up for what was. */
  readonly wellMs: number
  /** Pauses are up to a tenth shorter or longer by it. 0 to 1 */
  readonly random: () => number
}

export const defaultHealth: HealthSettings = {
  silenceMs: 60_000,
  retryMs: 30_000,
  longestRetryMs: 3_600_000,
  wellMs: 600_000,
  longestLoadMs: 3_600_000,
  random: Math.random,
}

/** A member that the ring goes on without. */
export interface LeftOut {
  readonly since: number
  /** When it is tried again. */
  readonly until: number
  /** Absent: it is no part of the epoch that a control plane found when it started, and tried before it takes part. */
  readonly error?: ErrorReportJson
  /** It loads its part of the next epoch, to see whether it can. */
  readonly trial?: Said
}

type Cause = 'own' | 'stalled' | 'silent' | 'backend' | 'job' | 'link' | 'lost' | 'flap'

/** What each costs: what somebody has to mend at once, what may pass after two or three in a row. */
const weights: Readonly<Record<Cause, number>> = {
  own: 6,
  stalled: 6,
  silent: 6,
  backend: 3,
  job: 3,
  link: 2,
  lost: 2,
  flap: 0.5,
}
/** It can load, and spoils what comes then: where the others are not enough, a ring with it is better than none. */
const spoiling: readonly Cause[] = ['silent', 'job', 'link', 'lost', 'flap']
const mostStrikes = 6
/** Of a member that was left out before, and is not well yet. */
const mostStrikesAfter = 3

/** Of those that left, so many are remembered. */
const mostGone = 64

interface Trial {
  readonly name: string
  readonly epoch: number
  readonly watch: LoadWatch
  readonly said: Said
}

interface Trouble {
  readonly strikes: number
  /** Times it was left out since it was well. */
  readonly times: number
  /** Epochs that it spoiled since it was well. */
  readonly spoiled: number
  readonly cause?: Cause
  readonly error?: ErrorReportJson
  readonly out?: { readonly since: number; readonly until: number }
  readonly trial?: Trial
  /** Since when it takes part in an active epoch. */
  readonly activeSince?: number
  /** A job was done with it since it came back. */
  readonly worked?: boolean
  /** When it stopped to want to serve: who leaves and comes again is no newcomer. */
  readonly goneAt?: number
}

const none: Trouble = { strikes: 0, times: 0, spoiled: 0 }
const noReason: ErrorReportJson = new MeshError('internal', { problem: 'it failed and does not say why' }).toReport()
const restless = (peer: string): ErrorReportJson => new MeshError('memberRestless', { peer }).toReport()

export class RingHealth {
  readonly #settings: HealthSettings
  /** The others can do without it. */
  readonly #canSpare: (deviceId: string) => boolean
  readonly #troubles = new Map<string, Trouble>()
  #watch: EpochWatch | undefined
  /** Pairs that fell out: lately, and in this epoch. */
  #links: (BadLink & { readonly at: number })[] = []
  #linksOfEpoch: BadLink[] = []
  /** Members that a job of this epoch lost: the end of the epoch says the same once more. */
  readonly #struck = new Set<string>()
  /** They went away while the epoch was put together. */
  readonly #went = new Set<string>()

  constructor(settings: HealthSettings, canSpare: (deviceId: string) => boolean = () => true) {
    this.#settings = settings
    this.#canSpare = canSpare
  }

  /** Another epoch begins. Whoever is part of it is not left out any more. */
  begin(members: readonly Member[], now: number): void {
    this.#watch = new EpochWatch(members, this.#settings, now)
    this.#linksOfEpoch = []
    this.#went.clear()
    this.#struck.clear()
    for (const { deviceId } of members)
      this.#change(deviceId, { out: undefined, trial: undefined, activeSince: undefined, worked: false })
  }

  /** A member said something of the epoch. */
  heard(deviceId: string, said: Said, members: readonly Member[], now: number): void {
    if (said.state === 'loading') this.#watchOf(members, now).heard(deviceId, said, now)
    if (said.state === 'failed') this.#failed(deviceId, said.error, members, now)
  }

  /** It is back, maybe as another process. */
  greeted(deviceId: string, now: number): void {
    this.#watch?.greeted(deviceId, now)
  }

  /** A member of the epoch went away. @param forms the epoch does not work yet: that is harm */
  went({ deviceId, name }: Member, forms: boolean, now: number): void {
    if (forms) this.#went.add(deviceId)
    else this.#strike(deviceId, 'flap', restless(name), now)
  }

  /** Its agent went away, and what it loaded to be tried may be gone with it. */
  untry(deviceId: string): void {
    this.#change(deviceId, { trial: undefined })
  }

  /**
   * The epoch gives way to the next one.
   * @param missing members that are away, or came back as another process
   * @returns whether somebody is left out since, so that the next one is of others
   */
  settle(members: readonly Member[], missing: readonly Member[], now: number): boolean {
    const before = this.#outs
    const gone = members.filter(
      ({ deviceId }) => this.#went.has(deviceId) || missing.some((one) => one.deviceId === deviceId),
    )
    for (const { deviceId, name } of gone)
      if (!this.#struck.has(deviceId)) this.#strike(deviceId, 'lost', restless(name), now)
    const isExplained = ({ by, of }: BadLink): boolean =>
      [by, of].some(
        (side) =>
          gone.some(({ deviceId }) => deviceId === side) || this.#struck.has(side) || this.#troubles.get(side)?.out,
      )
    const isUnexplained = this.#linksOfEpoch.some((link) => !isExplained(link))
    this.#links = this.#links.filter((link) => !isExplained(link))
    if (isUnexplained) this.#strikeWorst(members, 'link', now)
    this.#linksOfEpoch = []
    this.#went.clear()
    return this.#outs > before
  }

  /**
   * Looks for members that stand still, and for those that are well again.
   * @param members of the epoch
   */
  look(members: readonly Member[], said: SaidBy, isActive: boolean, now: number): void {
    this.#links = this.#links.filter(({ at }) => now - at < this.#settings.longestRetryMs)
    if (!this.#isOver(members)) this.#lookAtEpoch(members, said, now)
    for (const [deviceId, { trial, out, activeSince }] of this.#troubles) {
      if (trial && trial.said.state !== 'ready' && now - trial.watch.at >= this.#settings.silenceMs)
        this.#leaveOut(deviceId, stalled(trial.name, trial.said, this.#settings.silenceMs), now)
      const takesPart = isActive && !out && members.some((member) => member.deviceId === deviceId)
      this.#change(deviceId, { activeSince: takesPart ? (activeSince ?? now) : undefined })
      if (this.#isWell(deviceId, now)) this.#troubles.delete(deviceId)
    }
  }

  /** When to look again; `undefined`: nothing is waited for. */
  next(members: readonly Member[], said: SaidBy, now: number): number | undefined {
    const { silenceMs, wellMs } = this.#settings
    const times = [...this.#troubles.values()].flatMap(({ out, trial, activeSince, goneAt }) => {
      if (goneAt !== undefined) return []
      if (trial) return trial.said.state === 'ready' ? [] : [trial.watch.at + silenceMs]
      return out ? [out.until] : activeSince === undefined ? [] : [activeSince + wellMs]
    })
    const ofEpoch = this.#isOver(members) ? undefined : this.#watch?.next(members, said)
    // what is due and cannot be done now waits for something else to happen
    const later = [...times, ...(ofEpoch === undefined ? [] : [ofEpoch])].filter((time) => time > now)
    return later.length === 0 ? undefined : Math.min(...later)
  }

  /** A job of the epoch ended. @param error absent: it was done */
  jobEnded(members: readonly Member[], error: ErrorReportJson | undefined, now: number): void {
    if (error) return this.#jobFailed(members, error, now)
    for (const { deviceId } of members) this.#change(deviceId, { strikes: 0, worked: true })
  }

  /** Somebody found out what makes it unfit: it is left out at once. */
  accuse(deviceId: string, error: ErrorReportJson, now: number): void {
    this.#strike(deviceId, 'own', error, now)
  }

  /**
   * It comes to a ring that works, or is outside of one that was there when the control plane started: it is tried
   * first.
   */
  doubt(deviceId: string, now: number): void {
    const trouble = this.#troubles.get(deviceId) ?? none
    if (!trouble.out)
      this.#troubles.set(deviceId, { ...trouble, error: undefined, trial: undefined, out: { since: now, until: now } })
  }

  /** Somebody asks, on its machine, to try it now. Who spoiled several epochs has to wait all the same. */
  ask(deviceId: string, now: number): void {
    const { out, spoiled = 0 } = this.#troubles.get(deviceId) ?? {}
    if (!out) return
    const earliest = Math.max(now, out.since + (spoiled > 1 ? this.#pause(spoiled - 1) : 0))
    this.#change(deviceId, { out: { ...out, until: Math.min(out.until, earliest) } })
  }

  /** It loads its part of that epoch now, before anybody waits for it. */
  try({ deviceId, name }: Member, epoch: number, now: number): void {
    this.#change(deviceId, { trial: { name, epoch, watch: watchFrom(now), said: { state: 'waiting', progress: 0 } } })
  }

  /** How that goes. */
  tried(deviceId: string, epoch: number, said: Said, now: number): void {
    const trial = this.#troubles.get(deviceId)?.trial
    if (trial?.epoch !== epoch) return
    if (said.state === 'failed') this.#leaveOut(deviceId, said.error ?? noReason, now)
    else this.#change(deviceId, { trial: { ...trial, watch: watched(trial.watch, loadingOf(said), now), said } })
  }

  /** Whether and why it is left out; not any more when it has proven that it can load. */
  leftOut(deviceId: string): LeftOut | undefined {
    const { out, error, trial } = this.#troubles.get(deviceId) ?? none
    if (!out || trial?.said.state === 'ready') return undefined
    return { ...out, ...(error ? { error } : {}), ...(trial ? { trial: trial.said } : {}) }
  }

  /** Forgets all others, who want to serve no more: at once, or after an hour where they were left out. */
  keep(deviceIds: ReadonlySet<string>, now: number): void {
    for (const [deviceId, { goneAt, times }] of this.#troubles) {
      const since = deviceIds.has(deviceId) ? undefined : (goneAt ?? now)
      this.#change(deviceId, { goneAt: since })
      if (since !== undefined && (times === 0 || now - since >= this.#settings.longestRetryMs))
        this.#troubles.delete(deviceId)
    }
    const gone = [...this.#troubles].filter(([, { goneAt }]) => goneAt !== undefined)
    for (const [deviceId] of gone.slice(0, Math.max(0, gone.length - mostGone))) this.#troubles.delete(deviceId)
    this.#links = this.#links.filter(({ by, of }) => deviceIds.has(by) && deviceIds.has(of))
  }

  get #outs(): number {
    return [...this.#troubles.values()].filter(({ out }) => out).length
  }

  /** Nothing where there is no trouble. */
  #change(deviceId: string, change: Partial<Trouble>): void {
    const trouble = this.#troubles.get(deviceId)
    if (trouble) this.#troubles.set(deviceId, { ...trouble, ...change })
  }

  #watchOf(members: readonly Member[], now: number): EpochWatch {
    return (this.#watch ??= new EpochWatch(members, this.#settings, now))
  }

  /** Somebody is left out of the epoch: nobody has to be found any more. */
  #isOver(members: readonly Member[]): boolean {
    return members.some(({ deviceId }) => this.#troubles.get(deviceId)?.out)
  }

  #lookAtEpoch(members: readonly Member[], said: SaidBy, now: number): void {
    const watch = this.#watchOf(members, now)
    for (const { deviceId, error } of watch.stalls(members, said, now)) this.#strike(deviceId, 'stalled', error, now)
    const missing = watch.missingLinks(members, said, now)
    if (!missing) return
    for (const link of missing.links) this.#badLink(link, now)
    if (!this.#strikeWorst(members, 'stalled', now))
      this.#strike(missing.last.deviceId, 'stalled', missing.last.error, now)
  }

  /** Rank 0 names who it lies with; who names one after another is the one. */
  #jobFailed(members: readonly Member[], error: ErrorReportJson, now: number): void {
    const blamed = blamedForJob(members, error)
    if (!blamed) return
    const [leader] = members
    if (blamed.deviceId !== leader.deviceId) this.#badLink({ by: leader.deviceId, of: blamed.deviceId }, now)
    const worst = worstLinked(
      this.#links,
      members.map(({ deviceId }) => deviceId),
    )
    if (worst && worst.others.length > 1 && worst.deviceId === leader.deviceId)
      this.#strikeWorst(members, blamed.fault, now)
    else {
      this.#struck.add(blamed.deviceId)
      this.#strike(blamed.deviceId, blamed.fault, error, now)
    }
  }

  #failed(deviceId: string, error: ErrorReportJson | undefined, members: readonly Member[], now: number): void {
    const fault = faultOf(error)
    const named = namedIn(members, error)
    if (fault === 'link' && named !== undefined && named !== deviceId) this.#badLink({ by: deviceId, of: named }, now)
    else this.#strike(deviceId, fault, error ?? noReason, now)
  }

  #badLink(link: BadLink, at: number): void {
    const isOther = ({ by, of }: BadLink): boolean => by !== link.by || of !== link.of
    this.#links = [...this.#links.filter(isOther), { ...link, at }]
    this.#linksOfEpoch = [...this.#linksOfEpoch.filter(isOther), link]
  }

  /** @returns false when nobody is without links */
  #strikeWorst(members: readonly Member[], cause: Cause, now: number): boolean {
    const worst = worstLinked(
      this.#links,
      members.map(({ deviceId }) => deviceId),
    )
    if (!worst) return false
    const nameOf = (deviceId: string): string =>
      members.find((member) => member.deviceId === deviceId)?.name ?? 'one that left'
    const error = new MeshError('linksMissing', {
      peer: nameOf(worst.deviceId),
      others: worst.others.map(nameOf).join(', '),
    })
    this.#strike(worst.deviceId, cause, error.toReport(), now)
    return true
  }

  #isWell(deviceId: string, now: number): boolean {
    const { out, activeSince, cause, worked } = this.#troubles.get(deviceId) ?? none
    if (out || activeSince === undefined || now - activeSince < this.#settings.wellMs) return false
    return cause !== 'job' || worked === true // who spoils jobs is not well by having none
  }

  #strike(deviceId: string, cause: Cause, error: ErrorReportJson, now: number): void {
    const before = this.#troubles.get(deviceId) ?? none
    if (before.out) return
    const trouble = { ...before, cause, error, strikes: before.strikes + weights[cause] }
    this.#troubles.set(deviceId, trouble)
    if (trouble.strikes < (trouble.times > 0 ? mostStrikesAfter : mostStrikes)) return
    if (spoiling.includes(cause) && !this.#canSpare(deviceId)) return
    this.#change(deviceId, { spoiled: trouble.spoiled + 1 })
    this.#leaveOut(deviceId, error, now)
  }

  #leaveOut(deviceId: string, error: ErrorReportJson, now: number): void {
    const times = (this.#troubles.get(deviceId) ?? none).times + 1
    this.#change(deviceId, {
      times,
      error,
      strikes: 0,
      trial: undefined,
      activeSince: undefined,
      out: { since: now, until: now + this.#pause(times) },
    })
  }

  #pause(times: number): number {
    const { retryMs, longestRetryMs, random } = this.#settings
    return Math.round(backoffMs(times - 1, { firstMs: retryMs, longestMs: longestRetryMs, jitter: 0.1, random }))
  }
}
