/** The line that a service prints with `--json` once it serves. */
import { Type } from 'typebox'
import { Count, Hex64, Name, Time } from './common.ts'
import { Role } from './pool.ts'

const event = Type.Literal('ready')
const Addresses = Type.Array(Type.String(), { description: 'multiaddrs that lead to it' })
const Serving = Type.Array(Type.String(), { description: 'models that the device takes part in' })
const Notes = Type.Array(Type.String(), { description: 'why it does not take part in others' })

export const ControlPlaneReady = Type.Object({
  event,
  url: Type.String({ description: 'on this machine' }),
  controlPlaneKey: Hex64,
})

export const RelayReady = Type.Object({
  event,
  addresses: Addresses,
  pools: Type.Array(Hex64, { description: 'whose members it serves; none: it serves everyone' }),
})

export const AgentReady = Type.Object({ event, deviceId: Hex64, peerId: Type.String(), addresses: Addresses })
export type AgentReady = Type.Static<typeof AgentReady>

export const UpReady = Type.Object({
  event,
  deviceId: Hex64,
  url: Type.String({ description: 'of the control plane, on this machine' }),
  hosts: Type.Array(Type.String(), { description: 'addresses of this machine, the likeliest to be reached first' }),
  relay: Type.Array(Type.String(), { description: 'its multiaddr at each of the hosts' }),
  pids: Type.Record(Type.String(), Type.Integer({ minimum: 0 }), {
    description: 'process ids by part; 0: between two lives',
  }),
  serving: Serving,
  notes: Notes,
  join: Type.Array(
    Type.Object({
      pool: Type.String(),
      lines: Type.Array(Type.String(), { description: 'command lines: the first lets a device in, the second asks' }),
      usesLeft: Count,
      notAfter: Time,
    }),
    { description: 'what another device runs' },
  ),
})
export type UpReady = Type.Static<typeof UpReady>

/** Of `mesh join`: what was set up and, where the agent was started, that of `mesh start`. */
export const JoinAnswer = Type.Object({
  event: Type.Union([Type.Literal('ready'), Type.Literal('joined')], { description: 'ready: the agent was started' }),
  deviceId: Hex64,
  name: Name,
  controlPlane: Type.String(),
  poolId: Hex64,
  pool: Name,
  role: Role,
  notAfter: Time,
  serving: Serving,
  notes: Notes,
  peerId: Type.Optional(Type.String()),
  addresses: Type.Optional(Addresses),
})
export type JoinAnswer = Type.Static<typeof JoinAnswer>
