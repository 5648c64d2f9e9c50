/** Devices, as they registered. */
import { and, asc, count, eq, inArray, notExists } from 'drizzle-orm'
import type { Device, DeviceRegistration } from '../../shared/schema/device.ts'
import { MeshError } from '../../shared/errors.ts'
import { shortId } from '../../shared/ids.ts'
import { limits } from '../../shared/limits.ts'
import type { Store, Transaction } from './database.ts'
import { resourceLocks } from './lock-tables.ts'
import { devices, joinRequests, memberships, networks, pools, ringIntents } from './tables.ts'

export type StoredDevice = Omit<Device, 'online'>

export class DeviceStore {
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  /** Adds the device, or updates name, network and capabilities. @throws MeshError `overloaded` */
  register(deviceId: string, registration: DeviceRegistration, now: number): StoredDevice {
    return this.#store.transaction((tx) => {
      const before = tx
        .select({ networkId: devices.networkId })
        .from(devices)
        .where(eq(devices.deviceId, deviceId))
        .get()
      const left = before ? before.networkId : makeRoom(tx)
      tx.insert(networks).values({ networkId: registration.networkId, createdAt: now }).onConflictDoNothing().run()
      tx.insert(devices)
        .values({ deviceId, ...registration, createdAt: now, lastSeenAt: now })
        .onConflictDoUpdate({ target: devices.deviceId, set: { ...registration, lastSeenAt: now } })
        .run()
      if (left !== undefined && left !== registration.networkId) dropUnused(tx, left)
      return tx.select().from(devices).where(eq(devices.deviceId, deviceId)).get() as StoredDevice
    })
  }

  find(deviceId: string): StoredDevice | undefined {
    return this.#store.select().from(devices).where(eq(devices.deviceId, deviceId)).get()
  }

  /** What people call these devices: the name, or the first digits of one that is not on record. */
  names(deviceIds: readonly string[]): (deviceId: string) => string {
    const rows = this.#store
      .select({ deviceId: devices.deviceId, name: devices.name })
      .from(devices)
      .where(inArray(devices.deviceId, [...new Set(deviceIds)]))
      .all()
    const names = new Map(rows.map(({ deviceId, name }) => [deviceId, name]))
    return (deviceId) => names.get(deviceId) ?? shortId(deviceId)
  }

  seen(deviceId: string, now: number): void {
    this.#store.update(devices).set({ lastSeenAt: now }).where(eq(devices.deviceId, deviceId)).run()
  }
}

/** Any device may name a network: one that no device and no pool is in any more is forgotten. */
const dropUnused = (tx: Transaction, networkId: string): void => {
  const without = (table: typeof devices | typeof pools) =>
    notExists(tx.select({ networkId: table.networkId }).from(table).where(eq(table.networkId, networks.networkId)))
  tx.delete(networks)
    .where(and(eq(networks.networkId, networkId), without(devices), without(pools)))
    .run()
}

/**
 * Devices in no pool are as many as anybody likes to make up: the one seen longest ago makes room for a new one.
 * @returns the network that it was in; `undefined` when there was room
 */
const makeRoom = (tx: Transaction): string | undefined => {
  const without = (table: typeof memberships | typeof joinRequests | typeof ringIntents) =>
    notExists(tx.select({ deviceId: table.deviceId }).from(table).where(eq(table.deviceId, devices.deviceId)))
  const strangers = tx.select({ count: count() }).from(devices).where(without(memberships)).get()?.count ?? 0
  if (strangers < limits.strangers) return undefined
  const oldest = tx
    .select({ deviceId: devices.deviceId, networkId: devices.networkId })
    .from(devices)
    .where(and(without(memberships), without(joinRequests), without(ringIntents)))
    .orderBy(asc(devices.lastSeenAt))
    .limit(1)
    .get()
  if (!oldest) throw new MeshError('overloaded', { what: 'the list of devices in no pool', limit: limits.strangers })
  tx.delete(resourceLocks).where(eq(resourceLocks.deviceId, oldest.deviceId)).run()
  tx.delete(devices).where(eq(devices.deviceId, oldest.deviceId)).run()
  return oldest.networkId
}
