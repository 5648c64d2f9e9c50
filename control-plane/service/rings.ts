/** Keeps every ring in the epoch it should be in: looks at wishes, presence and reports, and acts on the decision. */
import { isDeepStrictEqual } from 'node:util'
import { MeshError } from '../../shared/errors.ts'
import type { ErrorReportJson } from '../../shared/schema/common.ts'
import { newRingId, shortId, shortRevision } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import { planShards } from '../../shared/plan/shard-plan.ts'
import type { RingJoin, RingMember, RingView } from '../../shared/schema/ring.ts'
import { limits } from '../../shared/limits.ts'
import { Budgets } from '../domain/budgets.ts'
import { type Decision, decideRing, type WishState } from '../domain/ring-formation.ts'
import type { HealthSettings } from '../domain/ring-health.ts'
import type { StoredRing, Wish } from '../store/ring-store.ts'
import type { Background } from './background.ts'
import { LiveRing } from './live-ring.ts'
import type { Agent, Report } from './presence.ts'
import { epochOf, RingFacts, type RingFactsOptions } from './ring-facts.ts'
import { RingTrials } from './ring-trials.ts'

export interface RingsOptions extends RingFactsOptions {
  readonly background: Background
  readonly health: HealthSettings
  readonly logger: Logger
  /** A job runs on that ring. */
  isBusy(ringId: string): boolean
  /** A ring became active. */
  onActive(ringId: string): void
  /** A member of an epoch says that it is over for it. */
  onFailed(ringId: string, deviceId: string, error?: ErrorReportJson): void
  /** Something may have changed for those who wait for the ring. */
  onEvaluated(ringId: string): void
  /** Nobody serves that model any more. */
  onDissolved(ring: StoredRing): void
}

/** What one agent may say of its rings: it reports what changed, and while it loads every few seconds. */
const reportBudget = { most: 500, perSecond: 50 }
/** To be tried before its time is for once in a while. */
const askUnits = 50

export class Rings {
  readonly #options: RingsOptions
  readonly #facts: RingFacts
  readonly #trials: RingTrials
  readonly #live = new Map<string, LiveRing>()
  readonly #budgets = new Budgets(reportBudget)
  #stopped = false

  constructor(options: RingsOptions) {
    this.#options = options
    this.#facts = new RingFacts(options)
    this.#trials = new RingTrials({ ...options, facts: this.#facts })
  }

  /** @throws MeshError `modelMismatch` | `quantMismatch` when others serve the model with other files or quantisation | `planImpossible` | `ringLimit` */
  join(poolId: string, deviceId: string, join: RingJoin): RingView {
    const { rings, now } = this.#options
    planShards(join.model.shape, [join.share]) // a shape that nobody could split must not be stored
    const known = rings.findByModel(poolId, join.model.modelId)
    const isNew = !known || !this.#facts.wishes(known.ringId).some((wish) => wish.deviceId === deviceId)
    if (isNew && rings.countOf(poolId, deviceId) >= limits.ringsOfDevice)
      throw new MeshError('ringLimit', { limit: limits.ringsOfDevice })
    const ring = this.#ringFor(poolId, deviceId, join)
    try {
      rings.wish(ring.ringId, { deviceId, share: join.share, joinedAt: now() })
    } catch (error) {
      this.evaluate(ring.ringId) // it may have been made for this device alone
      throw error
    }
    // joining again is a request to try again
    this.#askAgain(ring.ringId, deviceId)
    this.evaluate(ring.ringId)
    this.#remind(ring, deviceId)
    return this.view(ring.ringId)
  }

  /** @throws MeshError `notInRing` */
  leave(poolId: string, deviceId: string, modelId: string): void {
    const { rings, presence, isBusy } = this.#options
    const ring = rings.findByModel(poolId, modelId)
    if (!ring || !rings.unwish(ring.ringId, deviceId)) throw new MeshError('notInRing', { modelId })
    // a member stays until the running job is done: its links are part of it
    const isNeeded = isBusy(ring.ringId) && ring.members.some((member) => member.deviceId === deviceId)
    if (!isNeeded) presence.find(deviceId)?.socket.send({ type: 'ring-left', ringId: ring.ringId })
    this.evaluate(ring.ringId)
  }

  /**
   * Removes a ring with all who serve in it. A running job ends first.
   * @returns whether one runs. @throws MeshError `notFound` | `notAdmin` (others serve in it)
   */
  remove(
    poolId: string,
    { deviceId, isAdmin }: { readonly deviceId: string; readonly isAdmin: boolean },
    modelId: string,
  ): boolean {
    const { rings, isBusy, logger } = this.#options
    const ring = rings.findByModel(poolId, modelId)
    if (!ring) throw new MeshError('notFound', { what: 'ring for', id: modelId })
    const isAlone = this.#facts.wishes(ring.ringId).every((wish) => wish.deviceId === deviceId)
    if (!isAdmin && !isAlone) throw new MeshError('notAdmin', { poolId: shortId(poolId) })
    rings.unwishAll(ring.ringId)
    logger.info({ ring: ring.ringId, device: deviceId }, 'ring removed')
    const jobRuns = isBusy(ring.ringId)
    this.evaluate(ring.ringId)
    return jobRuns
  }

  /**
   * After the start: older versions kept rings in which nobody serves. And nobody knows any more why a device is no part
   * of the epoch that is there: it is tried first.
   */
  sweep(): void {
    const { rings, now } = this.#options
    for (const { ringId, members } of rings.all()) {
      const wishes = this.#facts.wishes(ringId)
      if (wishes.length === 0) this.evaluate(ringId)
      if (members.length === 0) continue
      const outside = wishes.filter(({ deviceId }) => !members.some((member) => member.deviceId === deviceId))
      for (const { deviceId } of outside) this.#state(ringId).health.doubt(deviceId, now())
    }
  }

  /** A device was removed from the pool: it serves nothing there any more. A running job is for others to end first. */
  expel(poolId: string, deviceId: string): void {
    const { rings, presence } = this.#options
    for (const ring of rings.ofPool(poolId)) {
      if (rings.unwish(ring.ringId, deviceId))
        presence.find(deviceId)?.socket.send({ type: 'ring-left', ringId: ring.ringId })
    }
  }

  /** Members of a pool changed. */
  refreshPool(poolId: string): void {
    for (const { ringId } of this.#options.rings.ofPool(poolId)) this.evaluate(ringId)
  }

  /** An agent said hello: it gets the epochs it is part of, and may complete others. */
  greet(agent: Agent): void {
    for (const ring of this.#ringsOf(agent.deviceId)) {
      const live = this.#state(ring.ringId)
      live.reports.delete(agent.deviceId) // it may have been started again
      live.health.greeted(agent.deviceId, this.#options.now())
      live.told.delete(agent.deviceId)
      this.evaluate(ring.ringId)
      this.#remind(ring, agent.deviceId)
    }
  }

  /** Addresses or certificates of a device changed. */
  refresh(deviceId: string): void {
    for (const ring of this.#ringsOf(deviceId)) this.evaluate(ring.ringId)
  }

  /** @throws MeshError `tooManyRequests`: no honest agent says so much */
  report(agent: Agent, ringId: string, report: Report): void {
    const { now, rings, onFailed } = this.#options
    this.#charge(agent)
    const ring = rings.find(ringId)
    const isMember = ring?.members.some(({ deviceId }) => deviceId === agent.deviceId)
    if (!ring || (!isMember && !this.#facts.wishes(ringId).some(({ deviceId }) => deviceId === agent.deviceId))) {
      // it left while it was away
      agent.socket.send({ type: 'ring-left', ringId })
      return
    }
    if (!isMember || ring.epoch !== report.epoch) return
    const live = this.#state(ringId)
    const before = live.reports.get(agent.deviceId)
    if (before?.state === 'ready' && report.state === 'loading') return // what is ready stays so, or fails
    live.reports.set(agent.deviceId, report)
    live.health.heard(agent.deviceId, report, ring.members, now())
    if (report.state === 'failed') {
      live.fail(now())
      onFailed(ringId, agent.deviceId, report.error)
    }
    const isMoreOfTheSame =
      report.state === 'loading' && before?.state === 'loading' && report.loading?.phase === before.loading?.phase
    if (!isMoreOfTheSame || report.loading?.missing?.length !== before.loading?.missing?.length) this.evaluate(ringId)
  }

  /** A device that is left out shows whether it can load. @throws MeshError `tooManyRequests` */
  tried(agent: Agent, ringId: string, report: Report): void {
    this.#charge(agent)
    this.#live.get(ringId)?.health.tried(agent.deviceId, report.epoch, report, this.#options.now())
    if (report.state !== 'loading') this.evaluate(ringId)
  }

  /** A device says that what kept it out is gone. @throws MeshError `tooManyRequests` */
  askAgain(agent: Agent, ringId: string): void {
    this.#charge(agent, askUnits)
    if (!this.#live.has(ringId)) return
    this.#askAgain(ringId, agent.deviceId)
    this.evaluate(ringId)
  }

  /** A job ended on the epoch that is there. @param error why it failed; absent: it was done */
  jobEnded(ringId: string, error?: ErrorReportJson): void {
    const ring = this.#options.rings.find(ringId)
    if (ring) this.#state(ringId).health.jobEnded(ring.members, error, this.#options.now())
  }

  /** Somebody found a member to be unfit: the others go on without it. */
  leaveOut(ringId: string, deviceId: string, error: ErrorReportJson): void {
    this.#state(ringId).health.accuse(deviceId, error, this.#options.now())
    this.evaluate(ringId)
  }

  /** An agent went away. */
  lose(deviceId: string): void {
    const { rings, now } = this.#options
    for (const ring of rings.all()) {
      const live = this.#state(ring.ringId)
      live.health.untry(deviceId)
      const member = ring.members.find((one) => one.deviceId === deviceId)
      if (!member) continue
      live.reports.delete(deviceId)
      live.health.went(member, live.status !== 'active', now())
      this.evaluate(ring.ringId)
    }
  }

  /** Looks at a ring and does what is to be done; never throws, and does it later when it cannot be stored now. */
  evaluate(ringId: string): void {
    this.#options.background.untilStored(`ring/${ringId}`, () => this.#evaluate(ringId))
    this.#options.onEvaluated(ringId)
  }

  #evaluate(ringId: string): void {
    const { rings, now, isBusy } = this.#options
    const ring = rings.find(ringId)
    if (!ring || this.#stopped) return
    const live = this.#state(ringId)
    const busy = isBusy(ringId)
    const { health } = live
    const wanting = this.#facts.wishes(ringId)
    health.keep(new Set(wanting.map(({ deviceId }) => deviceId)), now())
    // what works goes on while a newcomer loads
    if (live.status === 'active')
      for (const { deviceId } of this.#facts.newcomers(ring, wanting)) health.doubt(deviceId, now())
    const said = this.#facts.saidBy(ring, live)
    health.look(ring.members, said, live.status === 'active', now())
    let { wishes, decision } = this.#decide(ring, live, busy)
    const missing = ring.members.filter(({ deviceId }) =>
      wishes.some((wish) => wish.deviceId === deviceId && (!wish.available || wish.moved)),
    )
    if (decision.action === 'form' && health.settle(ring.members, missing, now()))
      ({ wishes, decision } = this.#decide(ring, live, busy))
    this.#act(ring, live, decision, busy)
    if (decision.action === 'dissolve') return
    const present = rings.find(ringId) ?? ring
    // links of who is left out are needed until the next epoch, where there will be one
    const stay = busy || (decision.action === 'wait' && decision.again !== undefined) ? present.members : []
    this.#trials.tell(
      ring,
      live,
      wishes.filter(({ deviceId }) => !stay.some((member) => member.deviceId === deviceId)),
    )
    this.#trials.begin(present, live, wishes)
    const again = [decision.action === 'wait' ? decision.again : undefined, health.next(present.members, said, now())]
    live.lookAgain(
      again.filter((time) => time !== undefined),
      now(),
      () => this.evaluate(ringId),
    )
  }

  #decide(ring: StoredRing, live: LiveRing, busy: boolean): { wishes: WishState[]; decision: Decision } {
    const { now } = this.#options
    const wishes = this.#facts.wishStates(ring, this.#facts.wishes(ring.ringId), live.health)
    const misfitOf = (some: readonly WishState[]): MeshError | undefined => this.#facts.misfit(ring, some, wishes)
    return {
      wishes,
      decision: decideRing({
        wishes,
        current: ring.members,
        reports: live.reports,
        busy,
        now: now(),
        retryAt: live.retryAt,
        misfitOf,
      }),
    }
  }

  #act(ring: StoredRing, live: LiveRing, decision: Decision, busy: boolean): void {
    const { presence, onActive } = this.#options
    const { ringId } = ring
    if (decision.action === 'form')
      this.#form(
        ring,
        this.#facts.wishes(ringId).filter(({ deviceId }) => decision.members.includes(deviceId)),
        decision.cause,
      )
    else if (decision.action === 'dissolve') this.#dissolve(ring)
    else if (decision.action === 'withdraw') this.#withdraw(ring, decision.misfit)
    else if (decision.action === 'wait') {
      live.misfit = decision.misfit
      if (live.status !== 'active' || !busy) live.wait(decision.reason)
    } else if (live.status !== 'active') {
      live.activate()
      for (const { deviceId } of ring.members)
        presence.find(deviceId)?.socket.send({ type: 'ring-active', ringId, epoch: ring.epoch })
      onActive(ringId)
    }
  }

  /** Why no epoch of the devices that are there can work, if so: no waiting helps, or only that for a pause. */
  obstacle(ringId: string): MeshError | undefined {
    const ring = this.#options.rings.find(ringId)
    return ring && this.#facts.obstacle(ring, this.#state(ringId))
  }

  /** Why the ring is not active; empty when it is. */
  reason(ringId: string): string {
    const { status, reason } = this.#state(ringId)
    return status === 'active' ? '' : reason
  }

  isActive(ringId: string): boolean {
    return this.#live.get(ringId)?.status === 'active'
  }

  /** The ring of a model, if any device wants to serve it. */
  serving(poolId: string, modelId: string): StoredRing | undefined {
    const ring = this.#options.rings.findByModel(poolId, modelId)
    return ring && this.#facts.wishes(ring.ringId).length > 0 ? ring : undefined
  }

  view(ringId: string): RingView {
    return this.#facts.view(this.#options.rings.find(ringId) as StoredRing, this.#state(ringId))
  }

  stop(): void {
    this.#stopped = true
    for (const live of this.#live.values()) live.stop()
  }

  /** The ring to join, made or changed when nobody else serves the model. */
  #ringFor(poolId: string, deviceId: string, { model, quant }: RingJoin): StoredRing {
    const { rings, now, isBusy } = this.#options
    const ring = rings.findByModel(poolId, model.modelId)
    if (!ring) return rings.define(newRingId(), poolId, { model, quant }, now())
    const isTaken = isBusy(ring.ringId) || this.#facts.wishes(ring.ringId).some((wish) => wish.deviceId !== deviceId)
    if (ring.model.revision === model.revision && ring.quant === quant) {
      if (!isDeepStrictEqual(ring.model.shape, model.shape))
        throw new MeshError('requestInvalid', {
          problem: `the shape of ${model.modelId} differs from the one the ring has for the same files`,
        })
      return ring
    }
    if (!isTaken) return rings.define(newRingId(), poolId, { model, quant }, now())
    if (ring.model.revision === model.revision)
      throw new MeshError('quantMismatch', { modelId: model.modelId, got: quant, want: ring.quant })
    throw new MeshError('modelMismatch', {
      modelId: model.modelId,
      got: shortRevision(model.revision),
      want: shortRevision(ring.model.revision),
    })
  }

  /** Sends the epoch to a member that has to do something for it, unless a newer one was just formed. */
  #remind({ ringId, epoch }: StoredRing, deviceId: string): void {
    const { rings, presence } = this.#options
    const ring = rings.find(ringId)
    const isDone = ['loading', 'ready'].includes(this.#live.get(ringId)?.reports.get(deviceId)?.state ?? '')
    if (ring?.epoch !== epoch || isDone || !ring.members.some((member) => member.deviceId === deviceId)) return
    presence.find(deviceId)?.socket.send({ type: 'ring-epoch', ring: epochOf(ring) })
  }

  #form(ring: StoredRing, wishes: readonly Wish[], cause: 'change' | 'failure'): void {
    const { rings, presence, now, logger } = this.#options
    const plan = this.#facts.plan(ring, wishes)
    if (!plan.fits) throw new Error('a plan that does not fit was looked at before')
    const epoch = ring.epoch + 1
    const members = this.#facts.membersOf(wishes, plan)
    rings.saveEpoch(ring.ringId, epoch, members, now())
    const live = this.#state(ring.ringId)
    live.begin(cause, now())
    live.health.begin(members, now())
    logger.info({ ring: ring.ringId, epoch, cause, members: members.map(({ name }) => name) }, 'new ring epoch')
    const formed = epochOf({ ...ring, epoch, members })
    for (const { deviceId } of members) presence.find(deviceId)?.socket.send({ type: 'ring-epoch', ring: formed })
    this.#release(ring, members)
  }

  #withdraw(ring: StoredRing, misfit: MeshError): void {
    this.#options.rings.saveEpoch(ring.ringId, ring.epoch, [], this.#options.now())
    const live = this.#state(ring.ringId)
    live.reports.clear()
    live.misfit = misfit
    live.wait(misfit.message)
    this.#release(ring, [])
  }

  #dissolve(ring: StoredRing): void {
    const { rings, logger, onDissolved } = this.#options
    rings.remove(ring.ringId)
    this.#live.get(ring.ringId)?.stop()
    this.#live.delete(ring.ringId)
    logger.info({ ring: ring.ringId }, 'ring dissolved')
    this.#release(ring, [])
    onDissolved(ring)
  }

  /** Tells members of the older epoch that are not in the new one. */
  #release(ring: StoredRing, members: readonly RingMember[]): void {
    const stay = new Set(members.map(({ deviceId }) => deviceId))
    const { health } = this.#state(ring.ringId)
    for (const { deviceId } of ring.members) {
      const isTold = health.leftOut(deviceId)?.error !== undefined && this.#options.presence.find(deviceId)?.canTry
      if (!stay.has(deviceId) && !isTold)
        this.#options.presence.find(deviceId)?.socket.send({ type: 'ring-left', ringId: ring.ringId })
    }
  }

  #ringsOf(deviceId: string): StoredRing[] {
    return this.#options.rings
      .all()
      .filter(({ ringId }) => this.#facts.wishes(ringId).some((wish) => wish.deviceId === deviceId))
  }

  #askAgain(ringId: string, deviceId: string): void {
    const { rings, now } = this.#options
    const { reports, health } = this.#state(ringId)
    if (reports.get(deviceId)?.state === 'failed') reports.delete(deviceId)
    health.ask(deviceId, now())
    const members = rings.find(ringId)?.members ?? []
    const isReady = ({ deviceId: id }: RingMember): boolean =>
      id === deviceId || (!health.leftOut(id) && reports.get(id)?.state !== 'failed')
    // nothing came after the epoch that it failed in: it goes on with that one
    if (
      (health.leftOut(deviceId)?.until ?? Infinity) <= now() &&
      members.some((one) => one.deviceId === deviceId) &&
      members.every(isReady)
    )
      health.begin(members, now())
  }

  #charge({ deviceId }: Agent, units = 1): void {
    const now = this.#options.now()
    if (this.#budgets.waitMs(deviceId, units, now) > 0)
      throw new MeshError('tooManyRequests', { sender: 'this device, about its rings', retryAfterSeconds: 1 })
    this.#budgets.charge(deviceId, units, now)
  }

  #state(ringId: string): LiveRing {
    const present = this.#live.get(ringId)
    if (present) return present
    const live: LiveRing = new LiveRing(this.#options.health, (deviceId) =>
      this.#facts.canSpare(ringId, live.health, deviceId),
    )
    this.#live.set(ringId, live)
    return live
  }
}
