/** The device as its home folder describes it: key, network, name and control plane. */
import { cpus } from 'node:os'
import { Type } from 'typebox'
import { MeshError } from '../../shared/errors.ts'
import { type Home, writeStateJson } from '../../shared/home.ts'
import { deviceIdOf, loadKey, ownKey } from '../../shared/identity/device-key.ts'
import type { KeyPair } from '../../shared/identity/keys.ts'
import type { DeviceId } from '../../shared/ids.ts'
import { defaultPorts } from '../../shared/options.ts'
import { Name } from '../../shared/schema/common.ts'
import type { Capabilities } from '../../shared/schema/device.ts'
import { readChecked } from './checked-state.ts'
import { measureMemory } from './memory.ts'

/** Network of a device that nobody told of another. */
export const defaultNetwork = 'home'

/** Where `mesh control-plane` listens unless told otherwise. */
export const defaultControlPlaneUrl = `http://127.0.0.1:${defaultPorts.controlPlane}`

export const DeviceConfig = Type.Object({
  networkId: Name,
  name: Name,
  controlPlaneUrl: Type.String({ minLength: 1, maxLength: 2000 }),
})
export type DeviceConfig = Type.Static<typeof DeviceConfig>

export interface LocalDevice {
  readonly deviceId: DeviceId
  readonly key: KeyPair
  readonly config: DeviceConfig
}

/** The device of this home, or `undefined` before `mesh init`. @throws MeshError `stateUnreadable` */
export const findDevice = (home: Home): LocalDevice | undefined => {
  const key = loadKey(home.deviceKey)
  const config = readChecked(home.config, DeviceConfig)
  return key === undefined || config === undefined ? undefined : { deviceId: deviceIdOf(key), key, config }
}

/** @throws MeshError `notInitialised` | `stateUnreadable` */
export const loadDevice = (home: Home): LocalDevice => {
  const device = findDevice(home)
  if (device === undefined) throw new MeshError('notInitialised', { home: home.root })
  return device
}

/**
 * Writes the configuration, and a new key where there is none: a key that exists is never replaced, because pools
 * know the device by it.
 * @throws MeshError `stateUnwritable` | `stateUnreadable` (a damaged key file)
 */
export const saveDevice = (home: Home, config: DeviceConfig): LocalDevice => {
  const key = ownKey(home.deviceKey)
  writeStateJson(home.config, config)
  return { deviceId: deviceIdOf(key), key, config }
}

/** @throws MeshError `usage` for anything but an http(s) address; @returns it without a trailing slash */
export const parseControlPlaneUrl = (text: string): string => {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
    throw new MeshError('usage', { problem: `--control-plane wants an address like ${defaultControlPlaneUrl}, got "${text}"` })
  }
  return text.replace(/\/+$/, '')
}

/** What this machine offers. @param backends names of the compute backends that run here */
export const readCapabilities = (backends: readonly string[] = ['onnx-cpu']): Capabilities => ({
  cpuCores: Math.max(1, cpus().length),
  memoryBytes: measureMemory().limitBytes,
  platform: process.platform,
  arch: process.arch,
  backends: [...backends],
})
