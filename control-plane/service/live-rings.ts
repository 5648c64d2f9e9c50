/** What is known of every ring while this process lives, and what others ask of it. */
import type { MeshError } from '../../shared/errors.ts'
import type { RingView } from '../../shared/schema/ring.ts'
import type { HealthSettings } from '../domain/ring-health.ts'
import type { RingStore, StoredRing } from '../store/ring-store.ts'
import { LiveRing } from './live-ring.ts'
import type { RingFacts } from './ring-facts.ts'

export interface LiveRingsOptions {
  readonly ringStore: RingStore
  readonly ringFacts: RingFacts
  readonly health: HealthSettings
}

export class LiveRings {
  readonly #options: LiveRingsOptions
  readonly #rings = new Map<string, LiveRing>()

  constructor(options: LiveRingsOptions) {
    this.#options = options
  }

  of(ringId: string): LiveRing {
    const present = this.#rings.get(ringId)
    if (present) return present
    const { health, ringFacts } = this.#options
    const live: LiveRing = new LiveRing(health, (deviceId) => ringFacts.canSpare(ringId, live.health, deviceId))
    this.#rings.set(ringId, live)
    return live
  }

  /** `undefined` when nobody asked for it yet. */
  find(ringId: string): LiveRing | undefined {
    return this.#rings.get(ringId)
  }

  /** The ring is gone. */
  forget(ringId: string): void {
    this.#rings.get(ringId)?.stop()
    this.#rings.delete(ringId)
  }

  isActive(ringId: string): boolean {
    return this.#rings.get(ringId)?.status === 'active'
  }

  /** Why the ring is not active; empty when it is. */
  reason(ringId: string): string {
    const { status, reason } = this.of(ringId)
    return status === 'active' ? '' : reason
  }

  /** Why no epoch of the devices that are there can work, if so: no waiting helps, or only that for a pause. */
  obstacle(ringId: string): MeshError | undefined {
    const ring = this.#options.ringStore.find(ringId)
    return ring && this.#options.ringFacts.obstacle(ring, this.of(ringId))
  }

  /** The ring of a model, if any device wants to serve it. */
  serving(poolId: string, modelId: string): StoredRing | undefined {
    const { ringStore } = this.#options
    const ring = ringStore.findByModel(poolId, modelId)
    return ring && ringStore.intents(ring.ringId).length > 0 ? ring : undefined
  }

  view(ringId: string): RingView {
    const { ringStore, ringFacts } = this.#options
    return ringFacts.view(ringStore.find(ringId) as StoredRing, this.of(ringId))
  }

  stop(): void {
    for (const live of this.#rings.values()) live.stop()
  }
}
