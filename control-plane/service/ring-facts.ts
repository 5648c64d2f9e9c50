/** What is known of a ring now, for decisions about it: who wants to serve, who is there, what has room where. */
import { MeshError } from '../../shared/errors.ts'
import { type FittedPlan, leastRankBytes, planWithin, type Shortage } from '../../shared/plan/shard-memory.ts'
import type { RingEpoch, RingMember, RingView } from '../../shared/schema/ring.ts'
import { formatBytes, formatDuration } from '../../shared/words.ts'
import type { SaidBy } from '../domain/epoch-watch.ts'
import type { IntentState } from '../domain/ring-formation.ts'
import type { RingHealth } from '../domain/ring-health.ts'
import { viewOf } from '../domain/ring-view.ts'
import type { DeviceStore } from '../store/device-store.ts'
import type { PoolStore } from '../store/pool-store.ts'
import type { RingStore, StoredRing, Intent } from '../store/ring-store.ts'
import type { LiveRing } from './live-ring.ts'
import type { Locks } from './locks.ts'
import type { Presence } from './presence.ts'

export interface RingFactsOptions {
  readonly ringStore: RingStore
  readonly deviceStore: DeviceStore
  readonly poolStore: PoolStore
  readonly locks: Pick<Locks, 'roomFor'>
  readonly presence: Presence
  readonly now: () => number
  readonly graceMs: number
  /** After a restart of the control plane agents need this long to find it again. */
  readonly leaseMs: number
}

/** Who serves how much: an intent, whatever else is known of it. */
type Part = Pick<Intent, 'deviceId' | 'share'>

export class RingFacts {
  readonly #options: RingFactsOptions

  constructor(options: RingFactsOptions) {
    this.#options = options
  }

  names(intents: readonly Pick<Intent, 'deviceId'>[]): (deviceId: string) => string {
    return this.#options.deviceStore.names(intents.map(({ deviceId }) => deviceId))
  }

  /** Whether a device can hold a part at all, and still holds no more than it may. */
  fit(
    { ringId, model, quant, members }: StoredRing,
    deviceId: string,
    name: string,
  ): Pick<IntentState, 'noRoom' | 'overfull'> {
    const roomBytes = this.#options.locks.roomFor(deviceId, ringId)
    const needsBytes = leastRankBytes(model.shape, quant)
    if (roomBytes < needsBytes)
      return { noRoom: tooLarge({ model, quant }, name, { needsBytes, lacksBytes: needsBytes - roomBytes }) }
    return { overfull: (members.find((member) => member.deviceId === deviceId)?.bytes ?? 0) > roomBytes }
  }

  /** Every device that wants to serve, as it stands now. */
  intentStates(ring: StoredRing, intents: readonly Intent[], health: RingHealth): IntentState[] {
    const { presence, now, graceMs, leaseMs } = this.#options
    const names = this.names(intents)
    return intents.map(({ deviceId, share }) => {
      const agent = presence.find(deviceId)
      const member = ring.members.find((one) => one.deviceId === deviceId)
      const leftOut = health.leftOut(deviceId)
      return {
        deviceId,
        share,
        name: names(deviceId),
        available: presence.isMember(deviceId, ring.poolId, now()),
        online: agent !== undefined,
        awaitedUntil: presence.awaitedUntil(deviceId, { graceMs, leaseMs }),
        ...this.fit(ring, deviceId, names(deviceId)),
        moved:
          agent !== undefined &&
          member !== undefined &&
          (agent.peerId !== member.peerId || agent.addresses.some((address) => !member.addresses.includes(address))),
        ...(leftOut
          ? {
              leftOut: {
                until: leftOut.until,
                canTry: agent?.canTry === true,
                problem: leftOut.error?.message ?? 'it is tried first',
              },
            }
          : {}),
      }
    })
  }

  /** Those that are no part of the epoch, and can show that they load a part before anybody waits for it. */
  newcomers({ poolId, members }: StoredRing, intents: readonly Intent[]): Intent[] {
    const { presence, now } = this.#options
    return intents.filter(
      ({ deviceId }) =>
        !members.some((member) => member.deviceId === deviceId) &&
        presence.isMember(deviceId, poolId, now()) &&
        presence.find(deviceId)?.canTry,
    )
  }

  /** Those that are there and have room for a part. */
  able(ring: StoredRing, health: RingHealth): IntentState[] {
    return this.intentStates(ring, this.#options.ringStore.intents(ring.ringId), health).filter(
      ({ available, noRoom }) => available && noRoom === undefined,
    )
  }

  /** The others that are there are enough for the model. */
  canSpare(ringId: string, health: RingHealth, deviceId: string): boolean {
    const ring = this.#options.ringStore.find(ringId)
    const others = ring ? this.able(ring, health).filter((one) => one.deviceId !== deviceId && !one.leftOut) : []
    return ring !== undefined && others.length > 0 && this.plan(ring, others).fits
  }

  /** What members of the epoch that are there said last. */
  saidBy({ members, poolId }: StoredRing, { reports }: Pick<LiveRing, 'reports'>): SaidBy {
    const { presence, now } = this.#options
    const there = members.filter(({ deviceId }) => presence.isMember(deviceId, poolId, now()))
    return new Map(there.map(({ deviceId }) => [deviceId, reports.get(deviceId) ?? { state: 'waiting', progress: 0 }]))
  }

  /** Why no epoch can work, if so. */
  obstacle(ring: StoredRing, { misfit, status, health }: LiveRing): MeshError | undefined {
    if (misfit || status === 'active') return misfit
    const able = this.able(ring, health)
    const [first] = able
    const out = first && health.leftOut(first.deviceId)
    if (!out?.error || able.some(({ leftOut }) => !leftOut)) return undefined
    const failure = MeshError.fromReport(out.error)
    const { now } = this.#options
    return new MeshError('ringBlocked', {
      modelId: ring.modelId,
      device: first.name,
      problem: failure.message,
      advice: failure.hint,
      when: out.until > now() ? `, in ${formatDuration(out.until - now())}` : ', now',
    })
  }

  /** What `mesh ring-status` shows. */
  view(ring: StoredRing, { status, reason, reports, health }: LiveRing): RingView {
    const { ringStore, poolStore, presence, now } = this.#options
    const intents = ringStore.intents(ring.ringId)
    const names = this.names(intents)
    return viewOf({
      ring,
      status,
      reason,
      reports,
      certificateOf: (deviceId) => poolStore.membership(ring.poolId, deviceId)?.certificate,
      intents: intents.map(({ deviceId, share }) => ({
        deviceId,
        share,
        name: names(deviceId),
        noRoom: this.fit(ring, deviceId, names(deviceId)).noRoom,
        online: presence.isOnline(deviceId),
        isMember: presence.isMember(deviceId, ring.poolId, now()),
        leftOut: health.leftOut(deviceId),
      })),
    })
  }

  plan({ ringId, model, quant }: StoredRing, parts: readonly Part[]): FittedPlan | Shortage {
    return planWithin(
      model.shape,
      quant,
      parts.map(({ deviceId, share }) => ({ share, roomBytes: this.#options.locks.roomFor(deviceId, ringId) })),
    )
  }

  /** Why the model does not fit on some of the devices; names those that are left out as well. */
  misfit(ring: StoredRing, parts: readonly Part[], intents: readonly IntentState[]): MeshError | undefined {
    const plan = this.plan(ring, parts)
    if (plan.fits) return undefined
    const out = intents.filter(
      ({ deviceId, available, leftOut }) => available && leftOut && !parts.some((part) => part.deviceId === deviceId),
    )
    const without = out
      .map(
        ({ name, leftOut }) =>
          `; ${name} is left out: ${leftOut?.problem}, ${againIn(leftOut?.until ?? 0, this.#options.now())}`,
      )
      .join('')
    return tooLarge(ring, this.names(parts)(parts[plan.rank].deviceId), plan, without)
  }

  /** The members of an epoch, by rank. */
  membersOf(parts: readonly Part[], plan: FittedPlan): RingMember[] {
    const names = this.names(parts)
    return parts.map(({ deviceId, share }, rank): RingMember => {
      const agent = this.#options.presence.find(deviceId)
      return {
        deviceId,
        name: names(deviceId),
        peerId: agent?.peerId ?? '',
        addresses: [...(agent?.addresses ?? [])],
        rank,
        share,
        ranges: plan.ranges[rank],
        bytes: plan.bytes[rank],
        context: plan.context,
      }
    })
  }
}

/** When somebody is tried again. */
export const againIn = (until: number, now: number): string =>
  until > now ? `tried again in ${formatDuration(until - now)}` : 'tried again now'

const tooLarge = (
  { model, quant }: Pick<StoredRing, 'model' | 'quant'>,
  device: string,
  { needsBytes, lacksBytes }: Omit<Shortage, 'fits' | 'rank'>,
  without = '',
): MeshError =>
  new MeshError('ringTooLarge', {
    modelId: model.modelId,
    quant,
    device,
    lacks: formatBytes(lacksBytes),
    needs: formatBytes(needsBytes),
    room: formatBytes(needsBytes - lacksBytes),
    ...(without === '' ? {} : { without }),
  })

export const epochOf = ({ ringId, poolId, epoch, model, quant, members }: StoredRing): RingEpoch => ({
  ringId,
  poolId,
  epoch,
  model,
  quant,
  members: [...members],
})
