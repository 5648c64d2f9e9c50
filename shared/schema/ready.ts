/** The line that a service prints with `--json` once it serves. */
import { Type } from 'typebox'
import { Hex64 } from './common.ts'

const event = Type.Literal('ready')
const Addresses = Type.Array(Type.String(), { description: 'multiaddrs that lead to it' })

export const ControlPlaneReady = Type.Object({ event, url: Type.String() })

export const RelayReady = Type.Object({
  event,
  addresses: Addresses,
  pools: Type.Array(Hex64, { description: 'whose members it serves; none: it serves everyone' }),
})

export const AgentReady = Type.Object({ event, deviceId: Hex64, peerId: Type.String(), addresses: Addresses })

export const UpReady = Type.Object({
  event,
  deviceId: Hex64,
  url: Type.String({ description: 'of the control plane, on this machine' }),
  hosts: Type.Array(Type.String(), { description: 'addresses of this machine, the likeliest to be reached first' }),
  relay: Type.Array(Type.String(), { description: 'its multiaddr at each of the hosts' }),
  pids: Type.Record(Type.String(), Type.Integer({ minimum: 0 }), { description: 'process ids by part; 0: between two lives' }),
  join: Type.Array(Type.Object({ pool: Type.String(), lines: Type.Array(Type.String()) }), { description: 'what another device runs' }),
})
