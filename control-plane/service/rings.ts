/** Keeps every ring in the epoch it should be in: looks at wishes, presence and reports, and acts on the decision. */
import { isDeepStrictEqual } from 'node:util'
import { MeshError } from '../../shared/errors.ts'
import type { ErrorReportJson } from '../../shared/schema/common.ts'
import { newRingId, shortId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import { leastRankBytes, planWithin, type Shortage } from '../../shared/plan/shard-memory.ts'
import { planShards } from '../../shared/plan/shard-plan.ts'
import type { RingEpoch, RingJoin, RingMember, RingView } from '../../shared/schema/ring.ts'
import { formatBytes } from '../../shared/words.ts'
import { limits } from '../../shared/wire/limits.ts'
import { blockingMember, decideRing, type WishState } from '../domain/ring-formation.ts'
import { viewOf } from '../domain/ring-view.ts'
import type { DeviceStore } from '../store/device-store.ts'
import type { RingStore, StoredRing, Wish } from '../store/ring-store.ts'
import type { Background } from './background.ts'
import { LiveRing } from './live-ring.ts'
import type { Agent, Presence, Report } from './presence.ts'

export interface RingsOptions {
  readonly rings: RingStore
  readonly devices: DeviceStore
  readonly presence: Presence
  readonly background: Background
  readonly now: () => number
  readonly graceMs: number
  /** After a restart of the control plane agents need this long to find it again. */
  readonly leaseMs: number
  readonly logger: Logger
  /** Bytes that a device may hold in a ring: what it locked, less what other rings have of it. */
  roomFor(deviceId: string, ringId: string): number
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

export class Rings {
  readonly #options: RingsOptions
  readonly #live = new Map<string, LiveRing>()
  #stopped = false

  constructor(options: RingsOptions) {
    this.#options = options
  }

  /** @throws MeshError `modelMismatch` | `quantMismatch` when others serve the model with other files or quantisation | `planImpossible` | `ringLimit` */
  join(poolId: string, deviceId: string, join: RingJoin): RingView {
    const { rings, now } = this.#options
    planShards(join.model.shape, [join.share]) // a shape that nobody could split must not be stored
    const known = rings.findByModel(poolId, join.model.modelId)
    const isNew = !known || !this.#wishes(known.ringId).some((wish) => wish.deviceId === deviceId)
    if (isNew && rings.countOf(poolId, deviceId) >= limits.ringsOfDevice) throw new MeshError('ringLimit', { limit: limits.ringsOfDevice })
    const ring = this.#ringFor(poolId, deviceId, join)
    try {
      rings.wish(ring.ringId, { deviceId, share: join.share, joinedAt: now() })
    } catch (error) {
      this.evaluate(ring.ringId) // it may have been made for this device alone
      throw error
    }
    // joining again is a request to try again
    const { reports } = this.#state(ring.ringId)
    if (reports.get(deviceId)?.state === 'failed') reports.delete(deviceId)
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
  remove(poolId: string, { deviceId, isAdmin }: { readonly deviceId: string; readonly isAdmin: boolean }, modelId: string): boolean {
    const { rings, isBusy, logger } = this.#options
    const ring = rings.findByModel(poolId, modelId)
    if (!ring) throw new MeshError('notFound', { what: 'ring for', id: modelId })
    const isAlone = this.#wishes(ring.ringId).every((wish) => wish.deviceId === deviceId)
    if (!isAdmin && !isAlone) throw new MeshError('notAdmin', { poolId: shortId(poolId) })
    rings.unwishAll(ring.ringId)
    logger.info({ ring: ring.ringId, device: deviceId }, 'ring removed')
    const jobRuns = isBusy(ring.ringId)
    this.evaluate(ring.ringId)
    return jobRuns
  }

  /** After the start: older versions kept rings in which nobody serves. */
  sweep(): void {
    for (const { ringId } of this.#options.rings.all()) if (this.#wishes(ringId).length === 0) this.evaluate(ringId)
  }

  /** A device was removed from the pool: it serves nothing there any more. A running job is for others to end first. */
  expel(poolId: string, deviceId: string): void {
    const { rings, presence } = this.#options
    for (const ring of rings.ofPool(poolId)) {
      if (rings.unwish(ring.ringId, deviceId)) presence.find(deviceId)?.socket.send({ type: 'ring-left', ringId: ring.ringId })
    }
  }

  /** Members of a pool changed. */
  refreshPool(poolId: string): void {
    for (const { ringId } of this.#options.rings.ofPool(poolId)) this.evaluate(ringId)
  }

  /** An agent said hello: it gets the epochs it is part of, and may complete others. */
  greet(agent: Agent): void {
    for (const ring of this.#ringsOf(agent.deviceId)) {
      this.#state(ring.ringId).reports.delete(agent.deviceId) // it may have been started again
      this.evaluate(ring.ringId)
      this.#remind(ring, agent.deviceId)
    }
  }

  /** Addresses or certificates of a device changed. */
  refresh(deviceId: string): void {
    for (const ring of this.#ringsOf(deviceId)) this.evaluate(ring.ringId)
  }

  report(agent: Agent, ringId: string, report: Report): void {
    const ring = this.#options.rings.find(ringId)
    const isMember = ring?.members.some(({ deviceId }) => deviceId === agent.deviceId)
    if (!ring || (!isMember && !this.#wishes(ringId).some(({ deviceId }) => deviceId === agent.deviceId))) {
      // it left while it was away
      agent.socket.send({ type: 'ring-left', ringId })
      return
    }
    if (!isMember || ring.epoch !== report.epoch) return
    const live = this.#state(ringId)
    live.reports.set(agent.deviceId, report)
    if (report.state === 'failed') {
      live.fail(this.#options.now())
      this.#options.onFailed(ringId, agent.deviceId, report.error)
    }
    this.evaluate(ringId)
  }

  /** An agent went away. */
  lose(deviceId: string): void {
    for (const ring of this.#options.rings.all()) {
      if (!ring.members.some((member) => member.deviceId === deviceId)) continue
      this.#state(ring.ringId).reports.delete(deviceId)
      this.evaluate(ring.ringId)
    }
  }

  /** Looks at a ring and does what is to be done; never throws, and does it later when it cannot be stored now. */
  evaluate(ringId: string): void {
    this.#options.background.untilStored(`ring/${ringId}`, () => this.#evaluate(ringId))
    this.#options.onEvaluated(ringId)
  }

  #evaluate(ringId: string): void {
    const { rings, presence, now, isBusy, onActive } = this.#options
    const ring = rings.find(ringId)
    if (!ring || this.#stopped) return
    const live = this.#state(ringId)
    const wishes = this.#wishes(ringId)
    const busy = isBusy(ringId)
    const decision = decideRing({ wishes: this.#wishStates(ring, wishes), current: ring.members, reports: live.reports, busy, now: now(), retryAt: live.retryAt })
    live.lookAgain(decision.action === 'wait' ? decision.again : undefined, now(), () => this.evaluate(ringId))
    if (decision.action === 'form') this.#form(ring, wishes.filter(({ deviceId }) => decision.members.includes(deviceId)), decision.cause)
    else if (wishes.length === 0 && !busy) this.#dissolve(ring)
    else if (decision.action === 'withdraw') this.#withdraw(ring, decision.misfit)
    else if (decision.action === 'wait') {
      live.misfit = decision.misfit
      if (live.status !== 'active' || !busy) live.wait(decision.reason)
    } else if (live.status !== 'active') {
      live.activate()
      for (const { deviceId } of ring.members) presence.find(deviceId)?.socket.send({ type: 'ring-active', ringId, epoch: ring.epoch })
      onActive(ringId)
    }
  }

  /** Why no epoch of the devices that are there can work, if so: no waiting helps. */
  obstacle(ringId: string): MeshError | undefined {
    const { rings, presence, now } = this.#options
    const { misfit, status, reports } = this.#state(ringId)
    const ring = rings.find(ringId)
    if (misfit || status === 'active' || !ring) return misfit
    const there = ring.members.filter(({ deviceId }) => presence.isMember(deviceId, ring.poolId, now()))
    const member = blockingMember(there, reports)
    if (!member) return undefined
    const failure = MeshError.fromReport(reports.get(member.deviceId)?.error ?? { code: 'backendFailed', message: 'it failed' })
    return new MeshError('ringBlocked', { modelId: ring.modelId, device: member.name, problem: failure.message, advice: failure.hint })
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
    return ring && this.#wishes(ring.ringId).length > 0 ? ring : undefined
  }

  view(ringId: string): RingView {
    const { rings, presence, now } = this.#options
    const ring = rings.find(ringId) as StoredRing
    const { status, reason, reports } = this.#state(ringId)
    const wishes = this.#wishes(ringId)
    const names = this.#names(wishes)
    return viewOf({
      ring, status, reason, reports,
      wishes: wishes.map(({ deviceId, share }) => ({
        deviceId, share, name: names(deviceId), noRoom: this.#fit(ring, deviceId, names(deviceId)).noRoom, online: presence.isOnline(deviceId), isMember: presence.isMember(deviceId, ring.poolId, now()),
      })),
    })
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
    const isTaken = isBusy(ring.ringId) || this.#wishes(ring.ringId).some((wish) => wish.deviceId !== deviceId)
    if (ring.model.revision === model.revision && ring.quant === quant) {
      if (!isDeepStrictEqual(ring.model.shape, model.shape)) throw new MeshError('requestInvalid', { problem: `the shape of ${model.modelId} differs from the one the ring has for the same files` })
      return ring
    }
    if (!isTaken) return rings.define(newRingId(), poolId, { model, quant }, now())
    if (ring.model.revision === model.revision) throw new MeshError('quantMismatch', { modelId: model.modelId, got: quant, want: ring.quant })
    throw new MeshError('modelMismatch', { modelId: model.modelId, got: model.revision.slice(0, 12), want: ring.model.revision.slice(0, 12) })
  }

  /** Sends the epoch to a member that has to do something for it, unless a newer one was just formed. */
  #remind({ ringId, epoch }: StoredRing, deviceId: string): void {
    const { rings, presence } = this.#options
    const ring = rings.find(ringId)
    const isDone = ['loading', 'ready'].includes(this.#live.get(ringId)?.reports.get(deviceId)?.state ?? '')
    if (ring?.epoch !== epoch || isDone || !ring.members.some((member) => member.deviceId === deviceId)) return
    presence.find(deviceId)?.socket.send({ type: 'ring-epoch', ring: epochOf(ring) })
  }

  #wishStates(ring: StoredRing, wishes: readonly Wish[]): WishState[] {
    const { presence, now, graceMs, leaseMs } = this.#options
    const names = this.#names(wishes)
    return wishes.map(({ deviceId, share }) => {
      const agent = presence.find(deviceId)
      const member = ring.members.find((one) => one.deviceId === deviceId)
      return {
        deviceId, share, name: names(deviceId),
        available: presence.isMember(deviceId, ring.poolId, now()),
        online: agent !== undefined,
        awaitedUntil: presence.awaitedUntil(deviceId, { graceMs, leaseMs }),
        ...this.#fit(ring, deviceId, names(deviceId)),
        moved: agent !== undefined && member !== undefined && (agent.peerId !== member.peerId || agent.addresses.some((address) => !member.addresses.includes(address))),
      }
    })
  }

  #form(ring: StoredRing, wishes: readonly Wish[], cause: 'change' | 'failure'): void {
    const { rings, presence, now, logger } = this.#options
    const epoch = ring.epoch + 1
    const names = this.#names(wishes)
    const plan = planWithin(ring.model.shape, ring.quant, wishes.map(({ deviceId, share }) => ({ share, roomBytes: this.#options.roomFor(deviceId, ring.ringId) })))
    if (!plan.fits) return this.#refuse(ring, wishes, plan)
    const members = wishes.map(({ deviceId, share }, rank): RingMember => {
      const agent = presence.find(deviceId)
      return { deviceId, name: names(deviceId), peerId: agent?.peerId ?? '', addresses: [...(agent?.addresses ?? [])], rank, share, ranges: plan.ranges[rank], bytes: plan.bytes[rank], context: plan.context }
    })
    rings.saveEpoch(ring.ringId, epoch, members, now())
    this.#state(ring.ringId).begin(cause, now())
    logger.info({ ring: ring.ringId, epoch, cause, members: members.map(({ name }) => name) }, 'new ring epoch')
    const formed = epochOf({ ...ring, epoch, members })
    for (const { deviceId } of members) presence.find(deviceId)?.socket.send({ type: 'ring-epoch', ring: formed })
    this.#release(ring, members)
  }

  /** Whether a device can hold a part at all, and still holds no more than it may. */
  #fit({ ringId, model, quant, members }: StoredRing, deviceId: string, name: string): Pick<WishState, 'noRoom' | 'overfull'> {
    const roomBytes = this.#options.roomFor(deviceId, ringId)
    const needsBytes = leastRankBytes(model.shape, quant)
    if (roomBytes < needsBytes) return { noRoom: tooLarge({ model, quant }, name, { needsBytes, lacksBytes: needsBytes - roomBytes }) }
    return { overfull: (members.find((member) => member.deviceId === deviceId)?.bytes ?? 0) > roomBytes }
  }

  /** The model does not fit: nothing is placed, and an epoch that takes more than was locked ends. */
  #refuse(ring: StoredRing, wishes: readonly Wish[], shortage: Shortage): void {
    const misfit = tooLarge(ring, this.#names(wishes)(wishes[shortage.rank].deviceId), shortage)
    if (ring.members.some(({ deviceId }) => this.#fit(ring, deviceId, '').overfull)) return this.#withdraw(ring, misfit)
    const live = this.#state(ring.ringId)
    live.misfit = misfit
    live.wait(misfit.message)
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
    for (const { deviceId } of ring.members) {
      if (!stay.has(deviceId)) this.#options.presence.find(deviceId)?.socket.send({ type: 'ring-left', ringId: ring.ringId })
    }
  }

  #ringsOf(deviceId: string): StoredRing[] {
    return this.#options.rings.all().filter(({ ringId }) => this.#wishes(ringId).some((wish) => wish.deviceId === deviceId))
  }

  #wishes(ringId: string): Wish[] {
    return this.#options.rings.wishes(ringId)
  }

  #state(ringId: string): LiveRing {
    const live = this.#live.get(ringId) ?? new LiveRing()
    this.#live.set(ringId, live)
    return live
  }

  #names(wishes: readonly Wish[]): (deviceId: string) => string {
    const names = this.#options.devices.names(wishes.map(({ deviceId }) => deviceId))
    return (deviceId) => names.get(deviceId) ?? shortId(deviceId)
  }
}

const tooLarge = ({ model, quant }: Pick<StoredRing, 'model' | 'quant'>, device: string, { needsBytes, lacksBytes }: Omit<Shortage, 'fits' | 'rank'>): MeshError =>
  new MeshError('ringTooLarge', { modelId: model.modelId, quant, device, lacks: formatBytes(lacksBytes), needs: formatBytes(needsBytes), room: formatBytes(needsBytes - lacksBytes) })

const epochOf = ({ ringId, poolId, epoch, model, quant, members }: StoredRing): RingEpoch => ({ ringId, poolId, epoch, model, quant, members: [...members] })
