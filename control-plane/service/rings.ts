/** Keeps every ring in the epoch it should be in: looks at wishes, presence and reports, and acts on the decision. */
import { MeshError } from '../../shared/errors.ts'
import { newRingId } from '../../shared/ids.ts'
import type { Logger } from '../../shared/log.ts'
import { planShards } from '../../shared/plan/shard-plan.ts'
import type { RingEpoch, RingJoin, RingMember, RingStatus, RingView } from '../../shared/schema/ring.ts'
import { decideRing } from '../domain/ring-formation.ts'
import { viewOf } from '../domain/ring-view.ts'
import type { DeviceStore } from '../store/device-store.ts'
import type { RingStore, StoredRing, Wish } from '../store/ring-store.ts'
import type { Agent, Presence, Report } from './presence.ts'

export interface RingsOptions {
  readonly rings: RingStore
  readonly devices: DeviceStore
  readonly presence: Presence
  readonly now: () => number
  readonly graceMs: number
  readonly logger: Logger
  /** A job runs on that ring. */
  isBusy(ringId: string): boolean
  /** A ring became active. */
  onActive(ringId: string): void
}

/** What is known of a ring only while this process lives. */
interface Live {
  status: RingStatus
  reason: string
  readonly reports: Map<string, Report>
  retryAt: number
  failures: number
  timer: NodeJS.Timeout | undefined
}

const firstRetryMs = 250
const longestRetryMs = 10_000

export class Rings {
  readonly #options: RingsOptions
  readonly #live = new Map<string, Live>()
  #stopped = false

  constructor(options: RingsOptions) {
    this.#options = options
  }

  /** @throws MeshError `modelMismatch` | `quantMismatch` when others serve the model with other files or quantisation */
  join(poolId: string, deviceId: string, { model, quant, share }: RingJoin): RingView {
    const { rings, now } = this.#options
    const existing = rings.findByModel(poolId, model.modelId)
    const others = existing ? rings.wishes(existing.ringId).filter((wish) => wish.deviceId !== deviceId) : []
    if (existing && others.length > 0) {
      if (existing.model.revision !== model.revision) throw new MeshError('modelMismatch', { modelId: model.modelId, got: model.revision.slice(0, 12), want: existing.model.revision.slice(0, 12) })
      if (existing.quant !== quant) throw new MeshError('quantMismatch', { modelId: model.modelId, got: quant, want: existing.quant })
    }
    const isSame = existing && existing.model.revision === model.revision && existing.quant === quant
    const ring = isSame ? existing : rings.define(newRingId(), poolId, { model, quant }, now())
    rings.wish(ring.ringId, { deviceId, share, joinedAt: now() })
    // joining again is a request to try again
    this.#state(ring.ringId).reports.delete(deviceId)
    this.evaluate(ring.ringId)
    return this.view(ring.ringId)
  }

  /** @throws MeshError `notInRing` */
  leave(poolId: string, deviceId: string, modelId: string): void {
    const { rings, presence } = this.#options
    const ring = rings.findByModel(poolId, modelId)
    if (!ring || !rings.unwish(ring.ringId, deviceId)) throw new MeshError('notInRing', { modelId })
    presence.find(deviceId)?.socket.send({ type: 'ring-left', ringId: ring.ringId })
    this.evaluate(ring.ringId)
  }

  /** An agent said hello: it gets the epochs it is part of, and may complete others. */
  greet(agent: Agent): void {
    const { rings } = this.#options
    for (const ring of rings.all()) {
      if (!rings.wishes(ring.ringId).some(({ deviceId }) => deviceId === agent.deviceId)) continue
      if (ring.members.some(({ deviceId }) => deviceId === agent.deviceId)) agent.socket.send({ type: 'ring-epoch', ring: epochOf(ring) })
      this.evaluate(ring.ringId)
    }
  }

  report(agent: Agent, ringId: string, report: Report): void {
    const ring = this.#options.rings.find(ringId)
    if (!ring || ring.epoch !== report.epoch || !ring.members.some(({ deviceId }) => deviceId === agent.deviceId)) return
    const live = this.#state(ringId)
    live.reports.set(agent.deviceId, report)
    if (report.state === 'failed') {
      if (live.status === 'active') live.status = 'forming'
      live.retryAt = Math.max(live.retryAt, this.#options.now() + Math.min(longestRetryMs, firstRetryMs * 2 ** live.failures))
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

  evaluate(ringId: string): void {
    const { rings, presence, now, graceMs, isBusy, onActive } = this.#options
    const ring = rings.find(ringId)
    if (!ring || this.#stopped) return
    const live = this.#state(ringId)
    clearTimeout(live.timer)
    const wishes = rings.wishes(ringId)
    const names = this.#names(wishes)
    const decision = decideRing({
      wishes: wishes.map(({ deviceId }) => ({ deviceId, name: names(deviceId), online: presence.isOnline(deviceId), offlineSince: presence.leftAt(deviceId) })),
      current: ring.members.map(({ deviceId }) => deviceId),
      reports: live.reports,
      busy: isBusy(ringId),
      now: now(),
      graceMs,
      retryAt: live.retryAt,
    })
    if (decision.action === 'form') this.#form(ring, live, wishes.filter(({ deviceId }) => decision.members.includes(deviceId)))
    else if (decision.action === 'activate') {
      live.reason = ''
      live.failures = 0
      if (live.status === 'active') return
      live.status = 'active'
      for (const { deviceId } of ring.members) presence.find(deviceId)?.socket.send({ type: 'ring-active', ringId, epoch: ring.epoch })
      onActive(ringId)
    } else {
      if (live.status !== 'active' || !isBusy(ringId)) {
        live.reason = decision.reason
        live.status = [...live.reports.values()].some(({ state }) => state === 'loading' || state === 'ready') && decision.again === undefined ? 'forming' : 'waiting'
      }
      if (decision.again !== undefined) live.timer = setTimeout(() => this.evaluate(ringId), Math.max(1, decision.again - now())).unref()
    }
  }

  isActive(ringId: string): boolean {
    return this.#state(ringId).status === 'active'
  }

  /** The ring of a model, if any device wants to serve it. */
  serving(poolId: string, modelId: string): StoredRing | undefined {
    const ring = this.#options.rings.findByModel(poolId, modelId)
    return ring && this.#options.rings.wishes(ring.ringId).length > 0 ? ring : undefined
  }

  view(ringId: string): RingView {
    const { rings, presence } = this.#options
    const ring = rings.find(ringId) as StoredRing
    const live = this.#state(ringId)
    const wishes = rings.wishes(ringId)
    const names = this.#names(wishes)
    return viewOf({
      ring, status: live.status, reason: live.reason, reports: live.reports,
      wishes: wishes.map(({ deviceId, share }) => ({ deviceId, share, name: names(deviceId), online: presence.isOnline(deviceId) })),
    })
  }

  stop(): void {
    this.#stopped = true
    for (const { timer } of this.#live.values()) clearTimeout(timer)
  }

  #form(ring: StoredRing, live: Live, wishes: readonly Wish[]): void {
    const { rings, presence, now, logger } = this.#options
    const epoch = ring.epoch + 1
    const names = this.#names(wishes)
    const plan = planShards(ring.model.shape, wishes.map(({ share }) => share))
    const members = wishes.map(({ deviceId, share }, rank): RingMember => {
      const agent = presence.find(deviceId)
      return { deviceId, name: names(deviceId), peerId: agent?.peerId ?? '', addresses: [...(agent?.addresses ?? [])], rank, share, ranges: plan[rank] }
    })
    rings.saveEpoch(ring.ringId, epoch, members, now())
    live.reports.clear()
    live.failures++
    live.retryAt = now() + Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(live.failures, 10))
    live.status = 'forming'
    live.reason = 'loading'
    logger.info({ ring: ring.ringId, epoch, members: members.map(({ name }) => name) }, 'new ring epoch')
    const formed = epochOf({ ...ring, epoch, members })
    for (const { deviceId } of members) presence.find(deviceId)?.socket.send({ type: 'ring-epoch', ring: formed })
    for (const { deviceId } of ring.members) if (!members.some((member) => member.deviceId === deviceId)) presence.find(deviceId)?.socket.send({ type: 'ring-left', ringId: ring.ringId })
  }

  #state(ringId: string): Live {
    let live = this.#live.get(ringId)
    if (!live) {
      live = { status: 'waiting', reason: 'starting', reports: new Map(), retryAt: 0, failures: 0, timer: undefined }
      this.#live.set(ringId, live)
    }
    return live
  }

  #names(wishes: readonly Wish[]): (deviceId: string) => string {
    const names = this.#options.devices.names(wishes.map(({ deviceId }) => deviceId))
    return (deviceId) => names.get(deviceId) ?? deviceId.slice(0, 8)
  }
}

const epochOf = ({ ringId, poolId, epoch, model, quant, members }: StoredRing): RingEpoch => ({ ringId, poolId, epoch, model, quant, members: [...members] })
