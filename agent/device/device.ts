/** The device as its home folder describes it: key, network, name and control plane. */
import { cpus } from 'node:os'
import { Type } from 'typebox'
import { secureUrl } from '../../shared/control-plane-url.ts'
import { MeshError } from '../../shared/errors.ts'
import { type Home, writeStateJson } from '../../shared/home.ts'
import { deviceIdOf, loadKey, ownKey } from '../../shared/identity/device-key.ts'
import type { KeyPair } from '../../shared/identity/keys.ts'
import type { ControlPlaneId, DeviceId } from '../../shared/ids.ts'
import { defaultPorts } from '../../shared/options.ts'
import { Hex64, Name } from '../../shared/schema/common.ts'
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
  /** By which the control plane is known, wherever it is; absent before it was met. */
  controlPlaneKey: Type.Optional(Type.Unsafe<ControlPlaneId>(Hex64)),
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
  if (key === undefined || config === undefined) return undefined
  return { deviceId: deviceIdOf(key), key, config: { ...config, controlPlaneUrl: secureUrl(config.controlPlaneUrl) } }
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

/**
 * The control plane was met for the first time: from now on this device knows it by its key.
 * @throws MeshError `stateUnreadable` | `stateUnwritable`
 */
export const rememberControlPlane = (home: Home, key: ControlPlaneId): void => {
  const config = readChecked(home.config, DeviceConfig)
  if (config !== undefined && config.controlPlaneKey === undefined)
    writeStateJson(home.config, { ...config, controlPlaneKey: key })
}

/**
 * The pools of this device are served by another control plane now. @returns the device as it is from now on
 * @throws MeshError `notInitialised` | `stateUnreadable` | `stateUnwritable`
 */
export const turnToControlPlane = (
  home: Home,
  { url, key }: { readonly url: string; readonly key: ControlPlaneId },
): LocalDevice => saveDevice(home, { ...loadDevice(home).config, controlPlaneUrl: url, controlPlaneKey: key })

/**
 * An address as somebody typed it. @returns it without a trailing slash, https unless it is of this machine
 * @throws MeshError `usage` for anything but an http(s) address
 */
export const parseControlPlaneUrl = (text: string): string => {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
    throw new MeshError('usage', {
      problem: `--control-plane wants an address like ${defaultControlPlaneUrl}, got "${text}"`,
    })
  }
  return secureUrl(text.replace(/\/+$/, ''))
}

/** What this machine offers. @param backends names of the compute backends that run here */
export const readCapabilities = (backends: readonly string[] = ['onnx-cpu']): Capabilities => ({
  cpuCores: Math.max(1, cpus().length),
  memoryBytes: measureMemory().limitBytes,
  platform: process.platform,
  arch: process.arch,
  backends: [...backends],
})
