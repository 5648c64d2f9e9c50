/**
 * One epoch of a ring on this device: carries out what the machine in `session-state.ts` decides. A new epoch replaces
 * the older one; the shard stays loaded when its columns are the same.
 */
import { MeshError } from '../../shared/errors.ts'
import type { Loading, RingEpoch, RingMember, RingNetwork } from '../../shared/schema/ring.ts'
import type { RankView } from '../checks/checked-rank.ts'
import type { JobOutcome } from '../generation/follower.ts'
import type { Leader } from '../generation/leader.ts'
import type { RankWork } from '../generation/protocol.ts'
import type { RingChannel } from '../network/ring-channel.ts'
import { EpochRank, type EpochRankOptions } from './epoch-rank.ts'
import {
  initialState,
  next,
  progressOf,
  type ReportedState,
  reportedState,
  type SessionEffect,
  type SessionEvent,
  type SessionState,
} from './session-state.ts'
import type { LoadedShard, ShardLoader } from './shard-loader.ts'

/** What the agent reports of a session. */
export interface SessionView {
  readonly ring: RingEpoch
  readonly member: RingMember
  readonly state: ReportedState
  readonly progress: number
  /** While it loads. */
  readonly loading: Loading | undefined
  readonly loaded: LoadedShard | undefined
  readonly error: MeshError | undefined
  /** On rank 0 of a ready epoch of several ranks. */
  readonly network: RingNetwork | undefined
  /** What the sums of the other ranks turned out to be. */
  readonly checks: readonly RankView[]
}

export interface RingSessionOptions extends Pick<
  EpochRankOptions,
  'ring' | 'checksFolder' | 'settings' | 'carrier' | 'logger'
> {
  readonly deviceId: string
  readonly loader: Pick<ShardLoader, 'load'>
  /** Links of this epoch to the other ranks; aborting the signal gives up. */
  connect(
    ring: RingEpoch,
    rank: number,
    signal: AbortSignal,
    onMissing: (ranks: readonly number[]) => void,
  ): Promise<RingChannel>
  onChange(session: RingSession): void
  /** A job of another rank ended here. */
  onFollowed(outcome: JobOutcome): void
  /** This rank did its part of a job. */
  onWork(session: RingSession, work: RankWork): void
}

type Step = () => Promise<SessionEvent>

export class RingSession {
  readonly ring: RingEpoch
  readonly member: RingMember
  readonly #options: RingSessionOptions
  readonly #abort = new AbortController()
  #state: SessionState = initialState
  /** What opening does next. */
  #step: Step | undefined
  #loaded: LoadedShard | undefined
  #channel: RingChannel | undefined
  #rank: EpochRank | undefined
  #released: Promise<unknown> = Promise.resolve()

  /** @throws MeshError `notInRing` */
  constructor(options: RingSessionOptions) {
    const member = options.ring.members.find(({ deviceId }) => deviceId === options.deviceId)
    if (!member) throw new MeshError('notInRing', { modelId: options.ring.model.modelId })
    this.ring = options.ring
    this.member = member
    this.#options = options
  }

  /**
   * Loads, links and starts. Never throws: failures end up in the state, and the control plane decides what comes then.
   */
  async open(): Promise<void> {
    this.#handle({ type: 'opened' })
    while (this.#step) {
      const step = this.#step
      this.#step = undefined
      this.#handle(await step().catch((error: unknown) => ({ type: 'failed', error: MeshError.from(error) }) as const))
    }
    await this.#released
  }

  /** Rank 0 of a ready epoch. @throws MeshError `epochStale` | the error that ended the epoch */
  get leader(): { readonly leader: Leader; readonly loaded: LoadedShard } {
    if (this.#state.name === 'failed') throw this.#state.error
    const leader = this.#rank?.leader
    if (!leader || !this.#loaded || this.#state.name !== 'ready')
      throw new MeshError('epochStale', { got: this.ring.epoch, want: 'a ready one' })
    return { leader, loaded: this.#loaded }
  }

  get view(): SessionView {
    const state = this.#state
    return {
      ring: this.ring,
      member: this.member,
      state: reportedState(state),
      progress: progressOf(state),
      loading: 'loading' in state ? state.loading : undefined,
      loaded: this.#loaded,
      error: state.name === 'failed' ? state.error : undefined,
      network: state.name === 'ready' ? state.network : undefined,
      checks: this.#rank?.checks ?? [],
    }
  }

  /** Jobs of other ranks that run here now. */
  get running(): number {
    return this.#state.name === 'ready' ? this.#state.jobs : 0
  }

  /** Gives up links and running jobs. The shard belongs to the loader. */
  async close(): Promise<void> {
    this.#handle({ type: 'closed' })
    await this.#released
  }

  #handle(event: SessionEvent): void {
    const { state, effects } = next(this.#state, event)
    this.#state = state
    for (const effect of effects) this.#carryOut(effect)
    if (event.type === 'started' && state.name === 'ready') this.#log('ring epoch ready')
  }

  #carryOut(effect: SessionEffect): void {
    if (effect.do === 'load') this.#step = () => this.#load()
    else if (effect.do === 'link') this.#step = () => this.#link()
    else if (effect.do === 'start') this.#step = () => this.#start()
    else if (effect.do === 'tell') this.#options.onChange(this)
    else if (effect.do === 'leave-sockets') this.#rank?.leaveSockets(effect.error)
    else if (effect.do === 'break') {
      this.#rank?.break(effect.error)
      const { ringId, epoch } = this.ring
      this.#options.logger.warn({ ring: ringId, epoch, code: effect.error.code }, effect.error.message)
    } else this.#released = this.#release(this.#released)
  }

  async #load(): Promise<SessionEvent> {
    const { ring, member } = this
    const progressed = (loading: Loading): void => this.#handle({ type: 'progressed', loading })
    this.#loaded = await this.#options.loader.load(ring, member, progressed)
    const missing = ring.members.map(({ rank }) => rank).filter((rank) => rank !== member.rank)
    return { type: 'loaded', bytes: this.#loaded.shard.bytes, missing }
  }

  async #link(): Promise<SessionEvent> {
    const { ring, member } = this
    const bytes = this.#loaded?.shard.bytes ?? 0
    if (ring.members.length > 1)
      this.#channel = await this.#options.connect(ring, member.rank, this.#abort.signal, (missing) =>
        this.#handle({
          type: 'progressed',
          loading: { phase: 'linking', bytes, totalBytes: bytes, missing: [...missing] },
        }),
      )
    return { type: 'linked' }
  }

  async #start(): Promise<SessionEvent> {
    const { checksFolder, settings, carrier, logger, onFollowed, onWork } = this.#options
    if (!this.#loaded) throw new Error('the shard comes first')
    this.#rank = await EpochRank.start({
      ring: this.ring,
      member: this.member,
      loaded: this.#loaded,
      channel: this.#channel,
      checksFolder,
      settings,
      carrier,
      logger,
      signal: this.#abort.signal,
      onLost: (error) => this.#handle({ type: 'failed', error: MeshError.from(error) }),
      onJobFailed: (error) => this.#handle({ type: 'job-failed', error: MeshError.from(error) }),
      onChecked: () => this.#handle({ type: 'checked' }),
      onAgreed: (network) => this.#handle({ type: 'agreed', network }),
      onBusy: (isBusy) => this.#handle({ type: 'busied', jobs: isBusy ? 1 : 0 }),
      onFollowed: (work, outcome) => {
        onFollowed(outcome)
        onWork(this, work)
      },
    })
    return { type: 'started', network: this.#rank.network }
  }

  /** May come again, with what a step brought late. Never throws: the next epoch waits for it. */
  async #release(before: Promise<unknown>): Promise<void> {
    this.#abort.abort(new MeshError('epochStale', { got: this.ring.epoch, want: 'a newer one' }))
    const ends = await Promise.allSettled([this.#rank?.close(), this.#channel?.close(), before])
    for (const end of ends) if (end.status === 'rejected') this.#options.logger.warn(MeshError.from(end.reason).message)
  }

  #log(text: string): void {
    const { ringId, epoch, members } = this.ring
    this.#options.logger.info({ ring: ringId, epoch, rank: this.member.rank, worldSize: members.length }, text)
  }
}
