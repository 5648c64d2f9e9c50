/** What agents say of their rings, and what happens to those who say it. */
import { MeshError } from '../../shared/errors.ts'
import type { ErrorReportJson } from '../../shared/schema/common.ts'
import { Budgets } from '../domain/budgets.ts'
import { isNews, reactionToReport } from '../domain/member-report.ts'
import type { RingStore } from '../store/ring-store.ts'
import type { Events } from './events.ts'
import type { LiveRings } from './live-rings.ts'
import type { Agent, Report } from './presence.ts'
import type { RingEpochs } from './ring-epochs.ts'

export interface RingReportsOptions {
  readonly ringStore: RingStore
  readonly liveRings: LiveRings
  readonly ringEpochs: RingEpochs
  readonly events: Events
  readonly now: () => number
}

/** What one agent may say of its rings: it reports what changed, and while it loads every few seconds. */
const reportBudget = { most: 500, perSecond: 50 }
/** To be tried before its time is for once in a while. */
const askUnits = 50

export class RingReports {
  readonly #options: RingReportsOptions
  readonly #budgets = new Budgets(reportBudget)

  constructor(options: RingReportsOptions) {
    this.#options = options
  }

  /** An agent said hello: it gets the epochs it is part of, and may complete others. */
  greet({ deviceId }: Agent): void {
    const { ringStore, liveRings, ringEpochs, now } = this.#options
    for (const ring of ringStore.ofDevice(deviceId)) {
      const live = liveRings.of(ring.ringId)
      live.reports.delete(deviceId) // it may have been started again
      live.health.greeted(deviceId, now())
      live.told.delete(deviceId)
      ringEpochs.evaluate(ring.ringId)
      ringEpochs.remind(ring, deviceId)
    }
  }

  /** @throws MeshError `tooManyRequests`: no honest agent says so much */
  report(agent: Agent, ringId: string, report: Report): void {
    const { ringStore, liveRings, ringEpochs, events, now } = this.#options
    this.#charge(agent)
    const { deviceId } = agent
    const ring = ringStore.find(ringId)
    const isThis = (one: { readonly deviceId: string }): boolean => one.deviceId === deviceId
    const isMember = ring?.members.some(isThis) === true
    const isServing = isMember || (ring !== undefined && ringStore.intents(ringId).some(isThis))
    const before = liveRings.find(ringId)?.reports.get(deviceId)
    const isOfEpoch = ring?.epoch === report.epoch
    const reaction = reactionToReport(report, { isMember, isServing, isOfEpoch, before })
    if (reaction === 'left') return agent.socket.send({ type: 'ring-left', ringId })
    if (reaction === 'ignore' || !ring) return
    const live = liveRings.of(ringId)
    live.reports.set(deviceId, report)
    live.health.heard(deviceId, report, ring.members, now())
    if (report.state === 'failed') {
      live.fail(now())
      events.emit('memberFailed', ringId, deviceId, report.error)
    }
    if (isNews(report, before)) ringEpochs.evaluate(ringId)
  }

  /** A device that is left out shows whether it can load. @throws MeshError `tooManyRequests` */
  tried(agent: Agent, ringId: string, report: Report): void {
    const { liveRings, ringEpochs, now } = this.#options
    this.#charge(agent)
    liveRings.find(ringId)?.health.tried(agent.deviceId, report.epoch, report, now())
    if (report.state !== 'loading') ringEpochs.evaluate(ringId)
  }

  /** A device says that what kept it out is gone. @throws MeshError `tooManyRequests` */
  askAgain(agent: Agent, ringId: string): void {
    const { ringStore, liveRings, ringEpochs, now } = this.#options
    this.#charge(agent, askUnits)
    const live = liveRings.find(ringId)
    if (!live) return
    live.askAgain(agent.deviceId, ringStore.find(ringId)?.members ?? [], now())
    ringEpochs.evaluate(ringId)
  }

  /** A job ended on the epoch that is there. @param error why it failed; absent: it was done */
  jobEnded(ringId: string, error?: ErrorReportJson): void {
    const { ringStore, liveRings, now } = this.#options
    const ring = ringStore.find(ringId)
    if (ring) liveRings.of(ringId).health.jobEnded(ring.members, error, now())
  }

  /** Somebody found a member to be unfit: the others go on without it. */
  leaveOut(ringId: string, deviceId: string, error: ErrorReportJson): void {
    const { liveRings, ringEpochs, now } = this.#options
    liveRings.of(ringId).health.accuse(deviceId, error, now())
    ringEpochs.evaluate(ringId)
  }

  /** An agent went away. */
  lose(deviceId: string): void {
    const { ringStore, liveRings, ringEpochs, now } = this.#options
    for (const ring of ringStore.all()) {
      const live = liveRings.of(ring.ringId)
      live.health.untry(deviceId)
      const member = ring.members.find((one) => one.deviceId === deviceId)
      if (!member) continue
      live.reports.delete(deviceId)
      live.health.went(member, live.status !== 'active', now())
      ringEpochs.evaluate(ring.ringId)
    }
  }

  #charge({ deviceId }: Agent, units = 1): void {
    const now = this.#options.now()
    if (this.#budgets.waitMs(deviceId, units, now) > 0)
      throw new MeshError('tooManyRequests', { sender: 'this device, about its rings', retryAfterSeconds: 1 })
    this.#budgets.charge(deviceId, units, now)
  }
}
