/** The control plane as this device talks to it: signed requests, certificates from the home folder. */
import { type Client, createClient } from '../../shared/api/client.ts'
import type { Home } from '../../shared/home.ts'
import type { Capabilities, Device } from '../../shared/schema/device.ts'
import type { Pool } from '../../shared/schema/pool.ts'
import { shortId } from '../../shared/ids.ts'
import { shownName } from '../../shared/text.ts'
import type { LocalDevice } from './device.ts'
import { findPool, type LocalPool } from './pools.ts'

export interface DeviceClientOptions {
  readonly home: Home
  readonly device: LocalDevice
  /** Overrides the address given to `mesh init`. */
  readonly url?: string
  readonly fetch?: typeof fetch
  readonly now?: () => number
  /** Milliseconds until an answer must have begun. */
  readonly timeoutMs?: number
}

export const createDeviceClient = ({ home, device, url, ...rest }: DeviceClientOptions): Client =>
  createClient({
    ...rest,
    url: url ?? device.config.controlPlaneUrl,
    key: device.key,
    certificateOf: (poolId) => findPool(home, poolId)?.certificate,
  })

const networkOf = ({ config }: LocalDevice): string => shownName(config.networkId, 'home')

/** Registers the device or updates what is known of it; repeating it is harmless. @throws MeshError of the client */
export const registerDevice = (client: Client, device: LocalDevice, capabilities: Capabilities): Promise<Device> =>
  client.call('registerDevice', { body: { networkId: networkOf(device), name: shownName(device.config.name, shortId(device.deviceId)), capabilities } })

/** Publishes a pool that this device made; repeating it is harmless. @throws MeshError of the client */
export const publishPool = (client: Client, device: LocalDevice, pool: LocalPool): Promise<Pool> =>
  client.call('createPool', {
    body: { poolId: pool.poolId, networkId: networkOf(device), name: shownName(pool.name, shortId(pool.poolId)), rootPublicKey: pool.rootPublicKey, certificate: pool.certificate, ...(pool.charter === undefined ? {} : { charter: pool.charter }) },
  })
