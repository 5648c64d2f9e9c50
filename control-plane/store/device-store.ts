/** Devices, as they registered. */
import { eq, inArray } from 'drizzle-orm'
import type { Device, DeviceRegistration } from '../../shared/schema/device.ts'
import type { Store } from './database.ts'
import { devices, networks } from './tables.ts'

export type StoredDevice = Omit<Device, 'online'>

export class DeviceStore {
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  /** Adds the device, or updates name, network and capabilities. */
  register(deviceId: string, registration: DeviceRegistration, now: number): StoredDevice {
    return this.#store.transaction((tx) => {
      tx.insert(networks).values({ networkId: registration.networkId, createdAt: now }).onConflictDoNothing().run()
      tx.insert(devices)
        .values({ deviceId, ...registration, createdAt: now, lastSeenAt: now })
        .onConflictDoUpdate({ target: devices.deviceId, set: { ...registration, lastSeenAt: now } })
        .run()
      return tx.select().from(devices).where(eq(devices.deviceId, deviceId)).get() as StoredDevice
    })
  }

  find(deviceId: string): StoredDevice | undefined {
    return this.#store.select().from(devices).where(eq(devices.deviceId, deviceId)).get()
  }

  names(deviceIds: readonly string[]): Map<string, string> {
    const rows = this.#store.select({ deviceId: devices.deviceId, name: devices.name }).from(devices).where(inArray(devices.deviceId, [...deviceIds])).all()
    return new Map(rows.map(({ deviceId, name }) => [deviceId, name]))
  }

  seen(deviceId: string, now: number): void {
    this.#store.update(devices).set({ lastSeenAt: now }).where(eq(devices.deviceId, deviceId)).run()
  }
}
