/** A pool: devices that trust one root key. */
import { Type } from 'typebox'
import { limits } from '../limits.ts'
import { Count, ErrorReportSchema, GivenName, Hex64, Name, Time } from './common.ts'
import { LockView } from './lock.ts'

export const Role = Type.Union([Type.Literal('admin'), Type.Literal('member')])
export type Role = Type.Static<typeof Role>

/** Base64url of the CBOR certificate in `identity/pool-certificate.ts`. */
export const CertificateText = Type.String({ minLength: 1, maxLength: 4096, pattern: '^[A-Za-z0-9_-]+$' })

/** Base64url of the list in `identity/revocation-list.ts`. */
export const RevocationText = Type.String({
  minLength: 1,
  maxLength: limits.revocationBytes,
  pattern: '^[A-Za-z0-9_-]+$',
})

/** Base64url of the statement in `identity/control-plane-pin.ts`. */
export const PinText = Type.String({ minLength: 1, maxLength: limits.pinLength, pattern: '^[A-Za-z0-9_-]+$' })

/** Base64url of the statement in `identity/pool-charter.ts`. */
export const CharterText = Type.String({ minLength: 1, maxLength: 4096, pattern: '^[A-Za-z0-9_-]+$' })

export const PoolCreation = Type.Object(
  {
    poolId: Hex64,
    networkId: GivenName,
    name: GivenName,
    rootPublicKey: Hex64,
    certificate: CertificateText,
    /** What it is made to be; the first one that is published counts. */
    charter: Type.Optional(CharterText),
  },
  { additionalProperties: false },
)
export type PoolCreation = Type.Static<typeof PoolCreation>

export const Pool = Type.Object({
  poolId: Hex64,
  networkId: Name,
  name: Name,
  rootPublicKey: Hex64,
  createdAt: Time,
  charter: Type.Optional(CharterText),
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
  certificate: CertificateText,
  /** Absent when it locked no memory. */
  lock: Type.Optional(LockView),
})
export type PoolPeer = Type.Static<typeof PoolPeer>

export const InviteId = Type.String({ pattern: '^[0-9a-f]{16}$' })

/** That a device holds an invite, without the secret: `identity/invite.ts`. */
export const InviteProof = Type.Object({ inviteId: InviteId, proof: Hex64 }, { additionalProperties: false })
export type InviteProof = Type.Static<typeof InviteProof>

export const JoinRequest = Type.Object({
  poolId: Hex64,
  deviceId: Hex64,
  name: Name,
  createdAt: Time,
  status: Type.Union([Type.Literal('pending'), Type.Literal('approved'), Type.Literal('denied')]),
  certificate: Type.Optional(CertificateText),
  /** Why it was denied. */
  error: Type.Optional(ErrorReportSchema),
  /** Shown to admins only. */
  invite: Type.Optional(InviteProof),
})
export type JoinRequest = Type.Static<typeof JoinRequest>
