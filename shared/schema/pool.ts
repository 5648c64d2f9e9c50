/** A pool: devices that trust one root key. */
import { Type } from 'typebox'
import { Count, Hex64, Name, Time } from './common.ts'
import { LockView } from './lock.ts'

export const Role = Type.Union([Type.Literal('admin'), Type.Literal('member')])
export type Role = Type.Static<typeof Role>

/** Base64url of the CBOR certificate in `identity/pool-certificate.ts`. */
export const CertificateText = Type.String({ minLength: 1, maxLength: 4096, pattern: '^[A-Za-z0-9_-]+$' })

export const PoolCreation = Type.Object({
  poolId: Hex64,
  networkId: Name,
  name: Name,
  rootPublicKey: Hex64,
  certificate: CertificateText,
}, { additionalProperties: false })
export type PoolCreation = Type.Static<typeof PoolCreation>

export const Pool = Type.Object({
  poolId: Hex64,
  networkId: Name,
  name: Name,
  rootPublicKey: Hex64,
  createdAt: Time,
  members: Count,
  online: Count,
})
export type Pool = Type.Static<typeof Pool>

export const PoolPeer = Type.Object({
  deviceId: Hex64,
  name: Name,
  role: Role,
  online: Type.Boolean(),
  lastSeenAt: Time,
  peerId: Type.Optional(Type.String({ maxLength: 200 })),
  addresses: Type.Array(Type.String({ maxLength: 500 })),
  notAfter: Time,
  /** Absent when it locked no memory. */
  lock: Type.Optional(LockView),
})
export type PoolPeer = Type.Static<typeof PoolPeer>

export const JoinRequest = Type.Object({
  poolId: Hex64,
  deviceId: Hex64,
  name: Name,
  createdAt: Time,
  status: Type.Union([Type.Literal('pending'), Type.Literal('approved')]),
  certificate: Type.Optional(CertificateText),
})
export type JoinRequest = Type.Static<typeof JoinRequest>
