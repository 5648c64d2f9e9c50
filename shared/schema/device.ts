/** A device: one person's machine, known by its Ed25519 public key. */
import { Type } from 'typebox'
import { Count, GivenName, Hex64, machineText, Name, Time } from './common.ts'

export const Capabilities = Type.Object({
  cpuCores: Type.Integer({ minimum: 1 }),
  memoryBytes: Count,
  platform: machineText(40),
  arch: machineText(40),
  backends: Type.Array(machineText(40), { maxItems: 16 }),
})
export type Capabilities = Type.Static<typeof Capabilities>

export const DeviceRegistration = Type.Object(
  {
    networkId: GivenName,
    name: GivenName,
    capabilities: Capabilities,
  },
  { additionalProperties: false },
)
export type DeviceRegistration = Type.Static<typeof DeviceRegistration>

export const Device = Type.Object({
  deviceId: Hex64,
  networkId: Name,
  name: Name,
  capabilities: Capabilities,
  createdAt: Time,
  lastSeenAt: Time,
  online: Type.Boolean({ description: 'its agent holds a live connection' }),
})
export type Device = Type.Static<typeof Device>
