/** Memory locks as this control plane knows them: signed statements in, room for shards out. */
import { verifyCommitment } from '../../shared/identity/lock-statement.ts'
import type { LockView } from '../../shared/schema/lock.ts'
import { isCommitted, roomOf } from '../domain/memory-room.ts'
import type { DeviceStore } from '../store/device-store.ts'
import type { LockStore } from '../store/lock-store.ts'
import type { RingStore } from '../store/ring-store.ts'
import type { Events } from './events.ts'
import type { Presence } from './presence.ts'

export interface LocksOptions {
  readonly lockStore: LockStore
  readonly deviceStore: DeviceStore
  readonly ringStore: RingStore
  readonly presence: Presence
  readonly events: Events
  readonly now: () => number
}

export class Locks {
  readonly #options: LocksOptions

  constructor(options: LocksOptions) {
    this.#options = options
  }

  /** The newest statement of a device. */
  statement(deviceId: string): string | null {
    return this.#options.lockStore.find(deviceId)?.statement ?? null
  }

  /**
   * Records a statement of a device on itself. One that is not newer than the known one changes nothing, so that it
   * may be sent any number of times and in any order.
   * @returns the newest statement. @throws MeshError `lockInvalid`
   */
  record(deviceId: string, statement: string): string {
    const { lockStore, events, now } = this.#options
    const commitment = verifyCommitment(statement, Buffer.from(deviceId, 'hex'))
    if (lockStore.record(deviceId, commitment, { statement, recordedAt: now() })) events.emit('roomChanged', deviceId)
    return this.statement(deviceId) ?? statement
  }

  /** The agent of a device measured its memory. */
  measured(deviceId: string, missingBytes: number): void {
    const { presence, events } = this.#options
    const before = presence.missingMemory(deviceId)
    presence.setMissingMemory(deviceId, missingBytes)
    if (before > 0 !== missingBytes > 0) events.emit('roomChanged', deviceId)
  }

  /** Bytes that a device has room for in a ring. */
  roomFor(deviceId: string, ringId: string): number {
    const { lockStore, deviceStore, ringStore, presence } = this.#options
    const held = ringStore
      .all()
      .flatMap((ring) =>
        ring.members
          .filter((member) => member.deviceId === deviceId)
          .map(({ bytes = 0 }) => ({ isHere: ring.ringId === ringId, bytes })),
      )
    const sum = (isHere: boolean): number =>
      held.filter((one) => one.isHere === isHere).reduce((total, { bytes }) => total + bytes, 0)
    return roomOf({
      lock: lockStore.find(deviceId),
      machineBytes: deviceStore.find(deviceId)?.capabilities.memoryBytes ?? 0,
      missingBytes: presence.missingMemory(deviceId),
      heldHereBytes: sum(true),
      heldElsewhereBytes: sum(false),
    })
  }

  view(deviceId: string): LockView | undefined {
    const lock = this.#options.lockStore.find(deviceId)
    return isCommitted(lock)
      ? {
          phase: lock.phase,
          memoryBytes: lock.memoryBytes,
          missingBytes: this.#options.presence.missingMemory(deviceId),
        }
      : undefined
  }
}
