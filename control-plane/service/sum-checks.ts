/**
 * What the ranks of each ring found out about each other's sums: kept for the epoch, looked at with each report, and
 * written down where it is to somebody's charge, so that it outlives the epoch and this process.
 */
import { MeshError } from '../../shared/errors.ts'
import { shortId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import type { ErrorReportJson } from '../../shared/schema/common.ts'
import type { MemberSums, RankCheck, RingView } from '../../shared/schema/ring.ts'
import { isMeasured, type JudgedMember, judgeSums } from '../domain/sum-verdicts.ts'
import type { DeviceStore } from '../store/device-store.ts'
import type { FindingStore } from '../store/finding-store.ts'
import type { RingStore, StoredRing } from '../store/ring-store.ts'
import type { Background } from './background.ts'
import type { Events } from './events.ts'

export interface SumChecksOptions {
  readonly ringStore: RingStore
  readonly deviceStore: DeviceStore
  readonly findingStore: FindingStore
  readonly background: Background
  readonly events: Events
  readonly now: () => number
  readonly logger: Logger
}

/** The sums of a member are wrong, as others confirm. */
export interface WrongSums {
  readonly ringId: string
  readonly deviceId: string
  /** What it worked on. */
  readonly jobs: readonly string[]
  readonly error: ErrorReportJson
}

/** What was found of a member is shown for so long. */
const shownMs = 30 * 86_400_000

interface EpochChecks {
  readonly epoch: number
  /** By member, what it said last. */
  readonly said: Map<string, readonly RankCheck[]>
  /** Members whose verdict was acted on. */
  readonly told: Map<string, string>
}

export class SumChecks {
  readonly #options: SumChecksOptions
  readonly #epochs = new Map<string, EpochChecks>()

  constructor(options: SumChecksOptions) {
    this.#options = options
    options.events.on('ringDissolved', ({ ringId }) => this.#epochs.delete(ringId))
  }

  /** A member of that epoch says what it found; of others nothing counts. @returns whose sums are wrong, each once */
  receive(
    deviceId: string,
    {
      ringId,
      epoch,
      checks,
    }: { readonly ringId: string; readonly epoch: number; readonly checks?: readonly RankCheck[] },
  ): WrongSums[] {
    const ring = checks && this.#options.ringStore.find(ringId)
    const own = ring?.members.findIndex((member) => member.deviceId === deviceId) ?? -1
    if (!ring || ring.epoch !== epoch || own < 0) return []
    const state = this.#of(ring)
    state.said.set(
      deviceId,
      checks.filter(({ rank }) => rank !== own && rank < ring.members.length),
    )
    return this.#judged(ring).flatMap((judged) => this.#note(ring, state, judged) ?? [])
  }

  /** The sums of a member of that epoch were found wrong, and others confirmed it. */
  isWrong(ringId: string, epoch: number, deviceId: string): boolean {
    const state = this.#epochs.get(ringId)
    return state?.epoch === epoch && state.told.get(deviceId) === 'wrong'
  }

  /** The view of a ring, with what is known of each member's sums: of this epoch, else what was written down last. */
  shown(view: RingView): RingView {
    const ring = this.#options.ringStore.find(view.ringId)
    if (!ring) return view
    const judged = new Map(this.#judged(ring).map((one) => [one.deviceId, one]))
    const since = this.#options.now() - shownMs
    const kept = new Map(
      this.#options.findingStore.ofModel(ring.poolId, ring.modelId, since).map((one) => [one.deviceId, one]),
    )
    const names = this.#options.deviceStore.names(
      [...judged.values(), ...kept.values()].flatMap(({ accusers }) => accusers),
    )
    const members = view.members.map((member) => {
      const now = judged.get(member.deviceId)
      const before = kept.get(member.deviceId)
      const known = now && (now.accusers.length > 0 || !before) ? now : before
      if (!known || (member.rank === undefined && known === now)) return member
      const { verdict, checks, wrong, worst, accusers } = known
      const sums: MemberSums = {
        verdict,
        checks,
        wrong,
        worst,
        accusers: accusers.map((deviceId) => ({ deviceId, name: names(deviceId) })),
        ...(now?.problem === undefined ? {} : { problem: now.problem }),
        ...(known === before ? { foundAt: before.at } : {}),
      }
      return { ...member, sums }
    })
    return { ...view, members }
  }

  #of({ ringId, epoch }: StoredRing): EpochChecks {
    const known = this.#epochs.get(ringId)
    if (known?.epoch === epoch) return known
    const begun: EpochChecks = { epoch, said: new Map(), told: new Map() }
    this.#epochs.set(ringId, begun)
    return begun
  }

  #judged(ring: StoredRing): JudgedMember[] {
    const { deviceStore } = this.#options
    const measured = (deviceId: string): boolean => isMeasured(deviceStore.find(deviceId)?.capabilities.arch)
    return judgeSums(
      ring.members.map(({ deviceId }) => deviceId),
      this.#of(ring).said,
      measured,
    )
  }

  /** Writes down what is new. @returns it where it is certain */
  #note(ring: StoredRing, { told }: EpochChecks, judged: JudgedMember): WrongSums | undefined {
    const { findingStore, background, now, logger } = this.#options
    const { deviceId, verdict, checks, wrong, worst, accusers, jobs } = judged
    const summary = verdict === 'disputed' ? `disputed ${accusers.join()}` : verdict
    if (
      (verdict !== 'wrong' && verdict !== 'disputed') ||
      told.get(deviceId) === 'wrong' ||
      told.get(deviceId) === summary
    )
      return undefined
    told.set(deviceId, summary)
    const member = ring.members.find((one) => one.deviceId === deviceId)
    const names = this.#options.deviceStore.names(accusers)
    const by = accusers.map(names)
    logger.warn(
      { ring: ring.ringId, epoch: ring.epoch, device: deviceId, checks, wrong, worst, by: accusers },
      verdict === 'wrong'
        ? 'the sums of a member are wrong, as others of its ring confirm'
        : 'the sums of a member are said to be wrong, by too few to know who is',
    )
    const { poolId, modelId, epoch } = ring
    background.run('storing what was found of sums', () =>
      findingStore.keep({ poolId, modelId, deviceId, verdict, accusers, checks, wrong, worst, epoch, at: now() }),
    )
    if (verdict !== 'wrong') return undefined
    const error = new MeshError('sumsWrong', {
      peer: member?.name ?? shortId(deviceId),
      rank: member?.rank ?? 0,
      checks,
      wrong,
      accusers: by.join(' and '),
    })
    return { ringId: ring.ringId, deviceId, jobs, error: error.toReport() }
  }
}
