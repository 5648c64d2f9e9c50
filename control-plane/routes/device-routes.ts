import { isDeepStrictEqual } from 'node:util'
import { MeshError } from '../../shared/errors.ts'
import type { Device, DeviceRegistration } from '../../shared/schema/device.ts'
import { version } from '../../shared/version.ts'
import type { Services } from '../service/services.ts'
import type { StoredDevice } from '../store/device-store.ts'
import type { Caller } from './access.ts'
import type { Handlers } from './handler.ts'

export const deviceRoutes = ({
  deviceStore,
  admission,
  presence,
  jobQueueStore,
  background,
  now,
}: Services): Pick<Handlers, 'health' | 'ready' | 'registerDevice' | 'getDevice'> => {
  const startedAt = now()
  /** An agent registers whenever it comes back: where it tells nothing new, a full disk does not keep it out. */
  const register = ({ deviceId, address }: Caller, registration: DeviceRegistration): StoredDevice => {
    if (!deviceStore.find(deviceId)) admission.newcomer(address)
    try {
      return deviceStore.register(deviceId, registration, now())
    } catch (error) {
      const known = deviceStore.find(deviceId)
      const { networkId, name, capabilities } = known ?? {}
      if (!known || !background.note(error) || !isDeepStrictEqual(registration, { networkId, name, capabilities }))
        throw error
      return known
    }
  }
  return {
    health: () => ({ status: 'ok', version, uptimeSeconds: (now() - startedAt) / 1000 }),
    ready: () => {
      try {
        background.check()
        return { ready: true, devicesOnline: presence.count, jobsQueued: jobQueueStore.queuedInAll() }
      } catch (error) {
        throw new MeshError('notReady', { problem: MeshError.from(error).message }, error)
      }
    },
    registerDevice: ({ caller, body }): Device => ({
      ...register(caller, body),
      online: presence.isOnline(caller.deviceId),
    }),
    getDevice: ({ caller }): Device => {
      const device = deviceStore.find(caller.deviceId)
      if (!device) throw new MeshError('deviceUnknown')
      return { ...device, online: presence.isOnline(caller.deviceId) }
    },
  }
}
