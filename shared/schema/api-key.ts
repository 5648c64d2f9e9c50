/** An API key: lets an app submit jobs to one pool, for the device that made it. */
import { Type } from 'typebox'
import { limits } from '../limits.ts'
import { Count, GivenName, Hex64, Name, Time } from './common.ts'

export const ApiKeyId = Type.String({ pattern: '^[0-9a-f]{16}$', description: '16 lower-case hex digits' })

const TokensPerDay = Type.Integer({
  minimum: 1,
  maximum: limits.keyTokens,
  description: 'prompt and answer, in a UTC day; absent: no limit',
})

/** The device makes the key itself, so that its secret is in no answer and no log. */
export const ApiKeyCreation = Type.Object(
  {
    keyId: ApiKeyId,
    /** `apiKeyHash` of the key. */
    hash: Hex64,
    name: GivenName,
    lifetimeMs: Type.Integer({ minimum: 1000, maximum: 366 * 86400e3 }),
    tokensPerDay: Type.Optional(TokensPerDay),
  },
  { additionalProperties: false },
)
export type ApiKeyCreation = Type.Static<typeof ApiKeyCreation>

export const ApiKey = Type.Object({
  keyId: ApiKeyId,
  poolId: Hex64,
  name: Name,
  /** The device that made it, and pays for what it uses. */
  deviceId: Hex64,
  deviceName: Name,
  createdAt: Time,
  expiresAt: Time,
  revokedAt: Type.Optional(Time),
  /** To the minute. */
  lastUsedAt: Type.Optional(Time),
  tokensPerDay: Type.Optional(TokensPerDay),
  /** Tokens of its jobs that ended since midnight UTC. */
  usedToday: Count,
  /** The most that its jobs which have not ended may use. */
  reserved: Count,
})
export type ApiKey = Type.Static<typeof ApiKey>
