/** What a device remembers of the other devices of its pools between runs of the agent. */
import { Type } from 'typebox'
import { Hex64, Name, Time } from './common.ts'

/** How an address was found. `inbound`: the peer dialled us, and nothing else told of it. */
export const FoundBy = Type.Union([
  Type.Literal('control-plane'),
  Type.Literal('mdns'),
  Type.Literal('cache'),
  Type.Literal('relay'),
  Type.Literal('inbound'),
])
export type FoundBy = Type.Static<typeof FoundBy>

const Address = Type.String({ minLength: 1, maxLength: 500 })

export const KnownPeer = Type.Object({
  poolId: Hex64,
  deviceId: Hex64,
  name: Type.Optional(Name),
  /** The connection of now, or of last time. */
  address: Address,
  found: FoundBy,
  /** Round trip, milliseconds; absent before the first measurement. */
  latencyMs: Type.Optional(Type.Number({ minimum: 0 })),
  lastSeenAt: Time,
  /** Addresses to dial, without the peer id, that led to the device, newest first. */
  worked: Type.Array(Type.Object({ address: Address, at: Time })),
})
export type KnownPeer = Type.Static<typeof KnownPeer>

export const KnownPeers = Type.Object({
  peers: Type.Array(KnownPeer),
  /** Control planes that peers told of and that worked, newest first. */
  controlPlanes: Type.Array(Type.String({ minLength: 1, maxLength: 300 })),
  /** Port that the agent listened on, so that the addresses others remember stay true. */
  listenPort: Type.Optional(Type.Integer({ minimum: 1, maximum: 65535 })),
})
export type KnownPeers = Type.Static<typeof KnownPeers>
