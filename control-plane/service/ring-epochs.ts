/** Keeps every ring in the epoch it should be in: looks at intents, presence and reports, and acts on the decision. */
import type { MeshError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { RingMember } from '../../shared/schema/ring.ts'
import { type Decision, decideRing, type IntentState } from '../domain/ring-formation.ts'
import type { RingStore, StoredRing } from '../store/ring-store.ts'
import type { Background } from './background.ts'
import type { Events } from './events.ts'
import type { LiveRing } from './live-ring.ts'
import type { LiveRings } from './live-rings.ts'
import type { Presence } from './presence.ts'
import { epochOf, type RingFacts } from './ring-facts.ts'
import type { RingTrials } from './ring-trials.ts'
import type { RunningJobs } from './running-jobs.ts'

export interface RingEpochsOptions {
  readonly ringStore: RingStore
  readonly liveRings: LiveRings
  readonly ringFacts: RingFacts
  readonly ringTrials: RingTrials
  readonly runningJobs: RunningJobs
  readonly presence: Presence
  readonly background: Background
  readonly events: Events
  readonly now: () => number
  readonly logger: Logger
}

interface Outcome {
  /** A job ran when it was looked. */
  readonly isBusy: boolean
  readonly intents: readonly IntentState[]
  readonly decision: Decision
}

export class RingEpochs {
  readonly #options: RingEpochsOptions
  #stopped = false

  constructor(options: RingEpochsOptions) {
    this.#options = options
    options.events.on('roomChanged', (deviceId) => this.evaluateOf(deviceId))
    options.events.on('poolMoved', (poolId) => this.evaluatePool(poolId))
  }

  /** Looks at a ring and does what is to be done; never throws, and does it later when it cannot be stored now. */
  evaluate(ringId: string): void {
    const { background, events } = this.#options
    background.untilStored(`ring/${ringId}`, () => this.#evaluate(ringId))
    events.emit('ringEvaluated', ringId)
  }

  /** Members of a pool changed. */
  evaluatePool(poolId: string): void {
    for (const { ringId } of this.#options.ringStore.ofPool(poolId)) this.evaluate(ringId)
  }

  /** Addresses, certificates or room of a device changed. */
  evaluateOf(deviceId: string): void {
    for (const { ringId } of this.#options.ringStore.ofDevice(deviceId)) this.evaluate(ringId)
  }

  /** Sends the epoch to a member that has to do something for it, unless a newer one was just formed. */
  remind({ ringId, epoch }: StoredRing, deviceId: string): void {
    const { ringStore, liveRings, presence } = this.#options
    const ring = ringStore.find(ringId)
    const isDone = ['loading', 'ready'].includes(liveRings.find(ringId)?.reports.get(deviceId)?.state ?? '')
    if (ring?.epoch !== epoch || isDone || !ring.members.some((member) => member.deviceId === deviceId)) return
    presence.find(deviceId)?.socket.send({ type: 'ring-epoch', ring: epochOf(ring) })
  }

  stop(): void {
    this.#stopped = true
  }

  #evaluate(ringId: string): void {
    const { ringStore, liveRings, ringFacts, runningJobs, now } = this.#options
    const ring = ringStore.find(ringId)
    if (!ring || this.#stopped) return
    const live = liveRings.of(ringId)
    const { health } = live
    const isBusy = runningJobs.isBusy(ringId)
    const serving = ringStore.intents(ringId)
    health.keep(new Set(serving.map(({ deviceId }) => deviceId)), now())
    // what works goes on while a newcomer loads
    if (live.status === 'active')
      for (const { deviceId } of ringFacts.newcomers(ring, serving)) health.doubt(deviceId, now())
    const said = ringFacts.saidBy(ring, live)
    health.look(ring.members, said, live.status === 'active', now())
    const outcome = this.#settled(ring, live, isBusy)
    this.#act(ring, live, outcome)
    if (outcome.decision.action === 'dissolve') return
    const present = ringStore.find(ringId) ?? ring
    this.#lookAfter(present, live, outcome)
    const again = outcome.decision.action === 'wait' ? outcome.decision.again : undefined
    live.lookAgain(
      [again, health.next(present.members, said, now())].filter((time) => time !== undefined),
      now(),
      () => this.evaluate(ringId),
    )
  }

  /** The decision; made once more where it is to form, and that shows who of the old epoch is to blame for it. */
  #settled(ring: StoredRing, live: LiveRing, isBusy: boolean): Outcome {
    const outcome = this.#decide(ring, live, isBusy)
    const missing = ring.members.filter(({ deviceId }) =>
      outcome.intents.some((intent) => intent.deviceId === deviceId && (!intent.available || intent.moved)),
    )
    return outcome.decision.action === 'form' && live.health.settle(ring.members, missing, this.#options.now())
      ? this.#decide(ring, live, isBusy)
      : outcome
  }

  #decide(ring: StoredRing, live: LiveRing, isBusy: boolean): Outcome {
    const { ringStore, ringFacts, now } = this.#options
    const intents = ringFacts.intentStates(ring, ringStore.intents(ring.ringId), live.health)
    const misfitOf = (some: readonly IntentState[]): MeshError | undefined => ringFacts.misfit(ring, some, intents)
    const { reports, retryAt } = live
    const known = { intents, current: ring.members, reports, busy: isBusy, now: now(), retryAt, misfitOf }
    return { isBusy, intents, decision: decideRing(known) }
  }

  #act(ring: StoredRing, live: LiveRing, { isBusy, decision }: Outcome): void {
    if (decision.action === 'form') this.#form(ring, live, decision)
    else if (decision.action === 'dissolve') this.#dissolve(ring)
    else if (decision.action === 'withdraw') this.#withdraw(ring, live, decision.misfit)
    else if (decision.action === 'activate') this.#activate(ring, live)
    else {
      live.misfit = decision.misfit
      if (live.status !== 'active' || !isBusy) live.wait(decision.reason)
    }
  }

  /**
   * Tells those that are left out, and lets those load whose pause is over.
   * @param ring as it is after the decision
   */
  #lookAfter(ring: StoredRing, live: LiveRing, { isBusy, intents, decision }: Outcome): void {
    const { ringTrials } = this.#options
    // links of who is left out are needed until the next epoch, where there will be one
    const isNeeded = isBusy || (decision.action === 'wait' && decision.again !== undefined)
    const stay = isNeeded ? ring.members : []
    const out = intents.filter(({ deviceId }) => !stay.some((member) => member.deviceId === deviceId))
    ringTrials.tell(ring, live, out)
    ringTrials.begin(ring, live, intents)
  }

  #activate({ ringId, epoch, members }: StoredRing, live: LiveRing): void {
    const { presence, events } = this.#options
    if (live.status === 'active') return
    live.activate()
    for (const { deviceId } of members) presence.find(deviceId)?.socket.send({ type: 'ring-active', ringId, epoch })
    events.emit('ringActive', ringId)
  }

  #form(ring: StoredRing, live: LiveRing, decided: Extract<Decision, { action: 'form' }>): void {
    const { ringStore, ringFacts, presence, now, logger } = this.#options
    const { ringId } = ring
    const { cause } = decided
    const serving = ringStore.intents(ringId).filter(({ deviceId }) => decided.members.includes(deviceId))
    const plan = ringFacts.plan(ring, serving)
    if (!plan.fits) throw new Error('a plan that does not fit was looked at before')
    const epoch = ring.epoch + 1
    const members = ringFacts.membersOf(serving, plan)
    ringStore.saveEpoch(ringId, epoch, members, now())
    live.begin(cause, now())
    live.health.begin(members, now())
    logger.info({ ring: ringId, epoch, cause, members: members.map(({ name }) => name) }, 'new ring epoch')
    const formed = epochOf({ ...ring, epoch, members })
    for (const { deviceId } of members) presence.find(deviceId)?.socket.send({ type: 'ring-epoch', ring: formed })
    this.#release(ring, members, live)
  }

  #withdraw(ring: StoredRing, live: LiveRing, misfit: MeshError): void {
    this.#options.ringStore.saveEpoch(ring.ringId, ring.epoch, [], this.#options.now())
    live.reports.clear()
    live.misfit = misfit
    live.wait(misfit.message)
    this.#release(ring, [], live)
  }

  #dissolve(ring: StoredRing): void {
    const { ringStore, liveRings, events, logger } = this.#options
    ringStore.remove(ring.ringId)
    liveRings.forget(ring.ringId)
    logger.info({ ring: ring.ringId }, 'ring dissolved')
    this.#release(ring, [])
    events.emit('ringDissolved', ring)
  }

  /** Tells members of the older epoch that are not in the new one, unless they were told why they are left out. */
  #release(ring: StoredRing, members: readonly RingMember[], live?: LiveRing): void {
    const { presence } = this.#options
    const stay = new Set(members.map(({ deviceId }) => deviceId))
    for (const { deviceId } of ring.members) {
      const agent = presence.find(deviceId)
      const isTold = live?.health.leftOut(deviceId)?.error !== undefined && agent?.canTry
      if (!stay.has(deviceId) && !isTold) agent?.socket.send({ type: 'ring-left', ringId: ring.ringId })
    }
  }
}
