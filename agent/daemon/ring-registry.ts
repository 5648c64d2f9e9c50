/** The rings that this device serves: at most one epoch of each. */
import type { AgentMessage, ControlMessage } from '../../shared/api/messages.ts'
import { MeshError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { AgentLeftOut } from '../../shared/schema/agent-state.ts'
import type { RingEpoch } from '../../shared/schema/ring.ts'
import type { CarrierChoice } from '../rank/open-carrier.ts'
import type { RankView } from '../checks/checked-rank.ts'
import { checksPerChange } from '../checks/spot-checks.ts'
import type { CollectiveSettings } from '../collective/chooser.ts'
import type { JobOutcome } from '../generation/follower.ts'
import type { RankWork } from '../generation/protocol.ts'
import type { RingStreams } from '../network/ring-streams.ts'
import { ReportPace } from './report-pace.ts'
import { RingSession, type SessionView } from './ring-session.ts'
import { RingTrial, type TrialView } from './ring-trial.ts'
import type { ShardLoader } from './shard-loader.ts'

/** What reports of epochs and of trials have in common. */
const reportOf = <State extends string>(
  { ringId, epoch }: RingEpoch,
  { state, progress, loading, error }: Pick<TrialView, 'progress' | 'loading' | 'error'> & { readonly state: State },
) => ({
  ringId,
  epoch,
  state,
  progress,
  ...(loading ? { loading } : {}),
  ...(error ? { error: error.toReport() } : {}),
})

export interface RingRegistryOptions {
  readonly deviceId: string
  readonly loader: ShardLoader
  readonly streams: RingStreams
  readonly checksFolder: string
  readonly settings: CollectiveSettings
  readonly carrier: CarrierChoice
  /** The key that prompts for a ring may be sealed with, where this device leads it. */
  readonly sealingKeyOf: (ring: RingEpoch) => string | undefined
  readonly logger: Logger
  readonly now: () => number
  /** Calls back when the disk that shards lie on has more room. @returns a function that ends it */
  onMoreRoom(then: () => void): () => void
  send(message: AgentMessage): void
  /** This device did its part of a job. */
  onWork(session: RingSession, work: RankWork): void
  onChange(): void
}

/** What of the checks is worth a message: a verdict, and now and then how many there were. */
const checksSummary = (checks: readonly RankView[]): string =>
  checks
    .map(
      (one) =>
        `${Math.floor(one.checks / checksPerChange)},${one.isWrong},${one.isWrong ? one.wrong : 0},${one.problem ?? ''}`,
    )
    .join(';')

type LeftOutMessage = Extract<ControlMessage, { type: 'ring-left-out' }>

/** Failures that more room on the disk mends. */
const mendedByRoom: readonly string[] = ['diskFull', 'stateUnwritable']

export class RingRegistry {
  readonly name = 'rings'
  readonly #options: RingRegistryOptions
  readonly #sessions = new Map<string, RingSession>()
  readonly #followed: Record<JobOutcome, number> = { done: 0, failed: 0 }
  readonly #pace: ReportPace
  readonly #trials = new Map<string, RingTrial>()
  readonly #leftOut = new Map<string, AgentLeftOut>()
  /** Ends the look for more room, by ring. */
  readonly #watching = new Map<string, () => void>()
  /** What the next of that ring waits for: an older epoch that is opened or closed, a shard that is freed. */
  readonly #closing = new Map<string, Promise<void>>()

  constructor(options: RingRegistryOptions) {
    this.#options = options
    this.#pace = new ReportPace(options.now)
  }

  /** A new epoch: the older one of the same ring ends. An epoch that is already here is only reported again. */
  enter(ring: RingEpoch): void {
    const present = this.#sessions.get(ring.ringId)
    if (present && present.ring.epoch > ring.epoch) return
    this.#endTrial(ring.ringId)
    this.#forgetLeftOut(ring.ringId)
    if (present && present.ring.epoch === ring.epoch && present.view.state !== 'failed')
      return this.#report(present, true)
    const { deviceId, loader, checksFolder, streams, settings, carrier, logger, onWork } = this.#options
    const session = new RingSession({
      ring,
      deviceId,
      loader,
      checksFolder,
      settings,
      carrier,
      logger,
      onWork,
      onFollowed: (outcome) => {
        this.#followed[outcome]++
        this.#options.onChange()
      },
      connect: (epoch, rank, signal, onMissing) => streams.open({ ring: epoch, rank, signal, onMissing }),
      onChange: (changed) => this.#report(changed, false),
    })
    this.#sessions.set(ring.ringId, session)
    const closed = Promise.all([this.#closing.get(ring.ringId), present?.close()])
    this.#wait(
      ring.ringId,
      closed.then(() => session.open()),
    )
    this.#report(session, true)
  }

  leave(ringId: string): void {
    this.#forgetLeftOut(ringId)
    this.#close(ringId)
    this.#options.onChange()
  }

  /** The others go on without this device. */
  leftOut({ ringId, poolId, modelId, error: report, retryMs }: LeftOutMessage): void {
    const { logger, now, send, onMoreRoom, onChange } = this.#options
    this.#forgetLeftOut(ringId)
    this.#close(ringId)
    const error = MeshError.fromReport(report).toReport()
    if (mendedByRoom.includes(error.code))
      this.#watching.set(
        ringId,
        onMoreRoom(() => send({ type: 'ring-retry', ringId })),
      )
    this.#leftOut.set(ringId, { ringId, poolId, modelId, error, retryAt: now() + Math.round(retryMs) })
    logger.warn(
      { ring: ringId, code: error.code },
      `the ring for ${modelId} goes on without this device: ${error.message}`,
    )
    onChange()
  }

  /** Loads its part of an epoch that may come, to show that it can. */
  try(ring: RingEpoch): void {
    const { deviceId, loader, streams, logger, onChange } = this.#options
    this.#close(ring.ringId, { keepShard: true })
    const trial = new RingTrial({
      ring,
      deviceId,
      loader,
      reach: (epoch, rank, signal) => streams.reach({ ring: epoch, rank, signal }),
      onChange: (changed) => {
        this.#reportTrial(changed)
        onChange()
      },
    })
    this.#trials.set(ring.ringId, trial)
    logger.info(
      { ring: ring.ringId, model: ring.model.modelId },
      'tried again: loading its part while the others go on',
    )
    const closed = this.#closing.get(ring.ringId) ?? Promise.resolve()
    void closed
      .then(() => trial.run())
      .then(() =>
        trial.view.state === 'failed' && this.#trials.get(ring.ringId) === trial
          ? loader.unload(ring.ringId)
          : undefined,
      )
  }

  /** Rings in which this device is tried. */
  get trials(): RingTrial[] {
    return [...this.#trials.values()].filter(({ view }) => view.state !== 'failed')
  }

  /** Rings that go on without this device, and why. */
  get allLeftOut(): AgentLeftOut[] {
    return [...this.#leftOut.values()]
  }

  /** @throws MeshError `epochStale` */
  session(ringId: string, epoch: number): RingSession {
    const session = this.#sessions.get(ringId)
    if (!session || session.ring.epoch !== epoch)
      throw new MeshError('epochStale', { got: epoch, want: session?.ring.epoch ?? 'none' })
    return session
  }

  views(): SessionView[] {
    return [...this.#sessions.values()].map(({ view }) => view)
  }

  /** Jobs of other ranks: those that run here now, and how those ended that did. */
  get followed(): Readonly<Record<'running' | JobOutcome, number>> {
    return { ...this.#followed, running: [...this.#sessions.values()].reduce((sum, { running }) => sum + running, 0) }
  }

  /** Tells the control plane where every ring stands. */
  report(): void {
    for (const [ringId, trial] of this.#trials) {
      this.#pace.forget(ringId)
      this.#reportTrial(trial)
    }
    for (const session of this.#sessions.values()) this.#report(session, true)
  }

  async stop(): Promise<void> {
    for (const end of this.#watching.values()) end()
    for (const trial of this.#trials.values()) trial.close()
    await Promise.all([...this.#sessions.values()].map((session) => session.close()))
  }

  #forgetLeftOut(ringId: string): void {
    this.#watching.get(ringId)?.()
    this.#watching.delete(ringId)
    this.#leftOut.delete(ringId)
  }

  #endTrial(ringId: string): void {
    this.#trials.get(ringId)?.close()
    this.#trials.delete(ringId)
  }

  /** Ends what this device does for a ring. */
  #close(ringId: string, { keepShard = false } = {}): void {
    const session = this.#sessions.get(ringId)
    const wasTried = this.#trials.has(ringId)
    this.#endTrial(ringId)
    this.#sessions.delete(ringId)
    this.#pace.forget(ringId)
    if (!session && !wasTried) return
    const closed = (session?.close() ?? Promise.resolve())
      .then(() => (keepShard ? undefined : this.#options.loader.unload(ringId)))
      .catch((error: unknown) => this.#options.logger.warn(MeshError.from(error).message))
    // what comes next would be given the shard that is about to be freed
    this.#wait(ringId, Promise.all([this.#closing.get(ringId), closed]))
  }

  /** The next of that ring begins after it. */
  #wait(ringId: string, until: Promise<unknown>): void {
    const closing = until.then(() => {
      if (this.#closing.get(ringId) === closing) this.#closing.delete(ringId)
    })
    this.#closing.set(ringId, closing)
  }

  #reportTrial(trial: RingTrial): void {
    const { ring, view } = trial
    if (this.#trials.get(ring.ringId) !== trial) return
    const { state, progress, loading } = view
    if (!this.#pace.isDue(ring.ringId, `trial/${ring.epoch}/${state}`, { progress, loading })) return
    this.#options.send({ type: 'ring-trial-state', ...reportOf(ring, view) })
  }

  #report(session: RingSession, always: boolean): void {
    const { view } = session
    const { ring, state, progress, loading, network, checks } = view
    if (state === 'closed' || this.#sessions.get(ring.ringId) !== session) return
    this.#options.onChange()
    if (
      !this.#pace.isDue(ring.ringId, `${ring.epoch}/${state}/${network?.carrier}/${checksSummary(checks)}`, {
        progress,
        loading,
      }) &&
      !always
    )
      return
    const sealingKey = state === 'ready' ? this.#options.sealingKeyOf(ring) : undefined
    this.#options.send({
      type: 'ring-state',
      ...reportOf(ring, { ...view, state }),
      ...(network ? { network } : {}),
      ...(checks.length > 0 ? { checks: [...checks] } : {}),
      ...(sealingKey ? { sealingKey } : {}),
    })
  }
}
