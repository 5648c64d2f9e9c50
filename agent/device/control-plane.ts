/** The control plane as this device talks to it: signed requests, certificates from the home folder. */
import { type Client, createClient } from '../../shared/api/client.ts'
import { isLoopbackUrl } from '../../shared/control-plane-url.ts'
import { MeshError } from '../../shared/errors.ts'
import type { ControlPlanePin } from '../../shared/identity/control-plane-pin.ts'
import type { Home } from '../../shared/home.ts'
import type { Capabilities, Device } from '../../shared/schema/device.ts'
import type { Pool } from '../../shared/schema/pool.ts'
import { type ControlPlaneId, shortId } from '../../shared/ids.ts'
import { shownName } from '../../shared/text.ts'
import { type LocalDevice, rememberControlPlane } from './device.ts'
import { Pins } from './pins.ts'
import { findPool, type LocalPool } from './pools.ts'
import { Revocations } from './revocations.ts'

export interface DeviceClientOptions {
  readonly home: Home
  readonly device: LocalDevice
  /** Overrides the address given to `mesh init`. */
  readonly url?: string
  /** Overrides the key that this device knows its control plane by. */
  readonly controlPlaneKey?: ControlPlaneId
  /** Told the key of the control plane when it is met for the first time. */
  onMet?(key: ControlPlaneId): void
  /** Told that a control plane on another machine is trusted from now on, because it is the first that was met. */
  onFirstContact?(key: ControlPlaneId, url: string): void
  readonly fetch?: typeof fetch
  readonly now?: () => number
  /** Milliseconds until an answer must have begun. */
  readonly timeoutMs?: number
}

/** How a person may be sure of it. */
export const firstContactText = (key: ControlPlaneId, url: string): string =>
  `first contact with the control plane at ${url}: from now on this device knows it by its key, ${key}; ` +
  'mesh control-plane-key on its machine must print the same'

/**
 * A client that signs as this device. It speaks to the control plane that this device knows and to no other; where it
 * knows none yet, to the first that answers, which it knows from then on.
 */
export const createDeviceClient = ({
  home,
  device,
  url,
  controlPlaneKey,
  onMet,
  onFirstContact,
  ...rest
}: DeviceClientOptions): Client => {
  const now = rest.now ?? Date.now
  const pins = new Pins(home, new Revocations(home, now), now)
  const client = createClient({
    ...rest,
    controlPlaneKey: controlPlaneKey ?? device.config.controlPlaneKey,
    onFirstContact: (key, at) => {
      rememberControlPlane(home, key)
      onMet?.(key)
      if (!isLoopbackUrl(at)) onFirstContact?.(key, at)
    },
    url: url ?? device.config.controlPlaneUrl,
    key: device.key,
    certificateOf: (poolId) => {
      checkServed(pins.pinOf(poolId), client.controlPlaneKey)
      return findPool(home, poolId)?.certificate
    },
  })
  return client
}

/** A pool is served by the control plane that its admins name, and by no other. @throws MeshError `poolMoved` */
export const checkServed = (pin: ControlPlanePin | undefined, key: ControlPlaneId | undefined): void => {
  if (pin === undefined || key === undefined || pin.controlPlaneId === key) return
  throw new MeshError('poolMoved', {
    poolId: shortId(pin.poolId),
    want: shortId(pin.controlPlaneId),
    got: shortId(key),
  })
}

const networkOf = ({ config }: LocalDevice): string => shownName(config.networkId, 'home')

/** Registers the device or updates what is known of it; repeating it is harmless. @throws MeshError of the client */
export const registerDevice = (client: Client, device: LocalDevice, capabilities: Capabilities): Promise<Device> =>
  client.call('registerDevice', {
    body: { networkId: networkOf(device), name: shownName(device.config.name, shortId(device.deviceId)), capabilities },
  })

/** Publishes a pool that this device made; repeating it is harmless. @throws MeshError of the client */
export const publishPool = (client: Client, device: LocalDevice, pool: LocalPool): Promise<Pool> =>
  client.call('createPool', {
    body: {
      poolId: pool.poolId,
      networkId: networkOf(device),
      name: shownName(pool.name, shortId(pool.poolId)),
      rootPublicKey: pool.rootPublicKey,
      certificate: pool.certificate,
      ...(pool.charter === undefined ? {} : { charter: pool.charter }),
    },
  })
