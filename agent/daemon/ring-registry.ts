/** The rings that this device serves: at most one epoch of each. */
import type { AgentMessage } from '../../shared/api/messages.ts'
import { MeshError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { RingEpoch } from '../../shared/schema/ring.ts'
import type { CarrierChoice } from '../carrier/assemble-rank.ts'
import type { RankView } from '../checks/checked-rank.ts'
import { checksPerChange } from '../checks/spot-checks.ts'
import type { CollectiveSettings } from '../collective/chooser.ts'
import type { JobOutcome } from '../generation/follower.ts'
import type { RankWork } from '../generation/protocol.ts'
import type { RingLinks } from '../network/ring-links.ts'
import { RingSession, type SessionView } from './ring-session.ts'
import type { ShardLoader } from './shard-loader.ts'

export interface RingRegistryOptions {
  readonly deviceId: string
  readonly loader: ShardLoader
  readonly links: RingLinks
  readonly checksFolder: string
  readonly settings: CollectiveSettings
  readonly carrier: CarrierChoice
  readonly logger: Logger
  send(message: AgentMessage): void
  /** This device did its part of a job. */
  onWork(session: RingSession, work: RankWork): void
  onChange(): void
}

/** What of the checks is worth a message: a verdict, and now and then how many there were. */
const checksSummary = (checks: readonly RankView[]): string =>
  checks.map((one) => `${Math.floor(one.checks / checksPerChange)},${one.isWrong},${one.isWrong ? one.wrong : 0},${one.problem ?? ''}`).join(';')

/** Steps of loading that are worth a message. */
const progressStep = 0.05

export class RingRegistry {
  readonly name = 'rings'
  readonly #options: RingRegistryOptions
  readonly #sessions = new Map<string, RingSession>()
  readonly #followed: Record<JobOutcome, number> = { done: 0, failed: 0 }
  readonly #reported = new Map<string, string>()
  /** Closing of an older epoch, which the next one waits for. */
  readonly #closing = new Map<string, Promise<void>>()

  constructor(options: RingRegistryOptions) {
    this.#options = options
  }

  /** A new epoch: the older one of the same ring ends. An epoch that is already here is only reported again. */
  enter(ring: RingEpoch): void {
    const present = this.#sessions.get(ring.ringId)
    if (present && present.ring.epoch > ring.epoch) return
    if (present && present.ring.epoch === ring.epoch && present.view.state !== 'failed') return this.#report(present, true)
    const { deviceId, loader, checksFolder, links, settings, carrier, logger, onWork } = this.#options
    const session = new RingSession({
      ring, deviceId, loader, checksFolder, settings, carrier, logger, onWork,
      onFollowed: (outcome) => {
        this.#followed[outcome]++
        this.#options.onChange()
      },
      connect: (epoch, rank, signal) => links.open({ ring: epoch, rank, signal }),
      onChange: (changed) => this.#report(changed, false),
    })
    this.#sessions.set(ring.ringId, session)
    const closed = Promise.all([this.#closing.get(ring.ringId), present?.close()]).then(() => {})
    this.#closing.set(ring.ringId, closed.then(() => session.open()))
    this.#report(session, true)
  }

  leave(ringId: string): void {
    const session = this.#sessions.get(ringId)
    if (!session) return
    this.#sessions.delete(ringId)
    this.#reported.delete(ringId)
    const closed = session.close().then(() => this.#options.loader.unload(ringId))
    closed.catch((error: unknown) => this.#options.logger.warn(MeshError.from(error).message))
    this.#options.onChange()
  }

  /** @throws MeshError `epochStale` */
  session(ringId: string, epoch: number): RingSession {
    const session = this.#sessions.get(ringId)
    if (!session || session.ring.epoch !== epoch) throw new MeshError('epochStale', { got: epoch, want: session?.ring.epoch ?? 'none' })
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
    for (const session of this.#sessions.values()) this.#report(session, true)
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#sessions.values()].map((session) => session.close()))
  }

  #report(session: RingSession, always: boolean): void {
    const { ring, state, progress, loading, error, network, checks } = session.view
    if (state === 'closed' || this.#sessions.get(ring.ringId) !== session) return
    const summary = `${ring.epoch}/${state}/${loading?.phase}/${Math.floor(progress / progressStep)}/${network?.carrier}/${checksSummary(checks)}`
    this.#options.onChange()
    if (!always && this.#reported.get(ring.ringId) === summary) return
    this.#reported.set(ring.ringId, summary)
    this.#options.send({ type: 'ring-state', ringId: ring.ringId, epoch: ring.epoch, state, progress, ...(loading ? { loading } : {}), ...(error ? { error: error.toReport() } : {}), ...(network ? { network } : {}), ...(checks.length > 0 ? { checks: [...checks] } : {}) })
  }
}
