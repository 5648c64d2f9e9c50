import { MeshError } from '../../shared/errors.ts'
import type { Device } from '../../shared/schema/device.ts'
import { version } from '../../shared/version.ts'
import type { Services } from '../service/services.ts'
import type { Handlers } from './handler.ts'

export const deviceRoutes = ({ devices, presence, jobStore, now }: Services): Pick<Handlers, 'health' | 'ready' | 'registerDevice' | 'getDevice'> => {
  const startedAt = now()
  return {
    health: () => ({ status: 'ok', version, uptimeSeconds: (now() - startedAt) / 1000 }),
    ready: () => ({ ready: true, devicesOnline: presence.count, jobsQueued: jobStore.queuedInAll() }),
    registerDevice: ({ caller, body }): Device => ({ ...devices.register(caller.deviceId, body, now()), online: presence.isOnline(caller.deviceId) }),
    getDevice: ({ caller }): Device => {
      const device = devices.find(caller.deviceId)
      if (!device) throw new MeshError('deviceUnknown')
      return { ...device, online: presence.isOnline(caller.deviceId) }
    },
  }
}
