/**
 * Invites: one line that lets whoever holds it join a pool, without an admin at the keyboard.
 *
 * `mesh-invite:` and base64url of canonical CBOR `[version, root public key, expiry in seconds, invite id, secret,
 * [control plane addresses], key of the control plane]`; the key is 32 bytes, or none where the maker did not know it,
 * and version 1 had no such field: whoever uses such an invite trusts the control plane that answers. The pool id is
 * the hash of the root key, so it is in there too. The secret never travels further: a device proves that it knows it
 * by an HMAC over its own key, which is worth nothing to anybody else.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { secureUrl } from '../control-plane-url.ts'
import { MeshError } from '../errors.ts'
import { type ControlPlaneId, parseControlPlaneId, type PoolId } from '../ids.ts'
import { encodeCbor } from '../wire/envelope.ts'
import { toHex } from './keys.ts'
import { poolIdOf } from './pool-certificate.ts'
import { decodeArray } from './signed-statement.ts'

export interface Invite {
  readonly poolId: PoolId
  /** 32 bytes. */
  readonly rootPublicKey: Uint8Array
  /** 16 hex digits. */
  readonly inviteId: string
  /** 16 bytes. */
  readonly secret: Uint8Array
  /** Milliseconds since 1970, whole seconds. */
  readonly notAfter: number
  /** Where the control plane of the pool may be found; the first that answers is taken. */
  readonly urls: readonly string[]
  /** By which it is known; absent: whoever answers. */
  readonly controlPlaneKey?: ControlPlaneId
}

export const inviteSecretBytes = 16
export const inviteIdBytes = 8
/** Addresses in one invite: more would make the code too large to photograph. */
export const inviteUrls = 4

const prefix = 'mesh-invite:'
const version = 2
/** Of before control planes had keys. */
const keylessVersion = 1
const maxLength = 2000

export const encodeInvite = ({
  rootPublicKey,
  inviteId,
  secret,
  notAfter,
  urls,
  controlPlaneKey = '',
}: Omit<Invite, 'poolId' | 'controlPlaneKey'> & { readonly controlPlaneKey?: string }): string => {
  const head = [
    version,
    Buffer.from(rootPublicKey),
    Math.floor(notAfter / 1000),
    Buffer.from(inviteId, 'hex'),
    Buffer.from(secret),
  ]
  return (
    prefix +
    Buffer.from(encodeCbor([...head, urls.slice(0, inviteUrls), Buffer.from(controlPlaneKey, 'hex')])).toString(
      'base64url',
    )
  )
}

const bad = (problem: string): MeshError => new MeshError('inviteInvalid', { problem })

const bytesOf = (value: unknown, length: number): Uint8Array => {
  if (!(value instanceof Uint8Array) || value.length !== length) throw bad('it is damaged')
  return value
}

const keyIn = (value: unknown): { readonly controlPlaneKey?: ControlPlaneId } =>
  value === undefined || (value instanceof Uint8Array && value.length === 0)
    ? {}
    : { controlPlaneKey: parseControlPlaneId(toHex(bytesOf(value, 32))) }

const isUrl = (value: unknown): value is string =>
  typeof value === 'string' && URL.canParse(value) && /^https?:\/\/[\x21-\x7e]+$/.test(value)

/**
 * Reads what a person pasted; whether it still holds the admin decides who made it.
 * @throws MeshError `inviteInvalid`
 */
export const decodeInvite = (pasted: string): Invite => {
  const text = pasted.trim()
  if (!text.startsWith(prefix)) throw bad(`it does not begin with ${prefix}`)
  const digits = text.slice(prefix.length)
  if (digits.length > maxLength || !/^[A-Za-z0-9_-]+$/.test(digits)) throw bad('it is not one whole line')
  let fields: unknown[]
  try {
    fields = decodeArray(Buffer.from(digits, 'base64url'), [6, 7])
  } catch (error) {
    throw new MeshError('inviteInvalid', { problem: 'it is damaged, or a part of it is missing' }, error)
  }
  const [kind, rootPublicKey, expiry, id, secret, urls, key] = fields
  if (kind !== (key === undefined ? keylessVersion : version)) throw bad(`version ${String(kind)} is unknown`)
  if (typeof expiry !== 'number' || !Array.isArray(urls) || urls.length > inviteUrls || !urls.every(isUrl))
    throw bad('it is damaged')
  const root = bytesOf(rootPublicKey, 32)
  return {
    poolId: poolIdOf(root),
    rootPublicKey: root,
    inviteId: toHex(bytesOf(id, inviteIdBytes)),
    secret: bytesOf(secret, inviteSecretBytes),
    notAfter: expiry * 1000,
    urls: urls.map(secureUrl),
    ...keyIn(key),
  }
}

/** What a device shows instead of the secret: 64 hex digits that only this device can use. */
export const inviteProof = (
  secret: Uint8Array,
  { poolId, inviteId, deviceId }: { readonly poolId: string; readonly inviteId: string; readonly deviceId: string },
): string =>
  createHmac('sha256', secret).update(['meshnet-invite-v1', poolId, inviteId, deviceId].join('\n')).digest('hex')

/** Compares without telling by its duration how much was right. */
export const isProof = (given: string, wanted: string): boolean =>
  given.length === wanted.length && timingSafeEqual(Buffer.from(given), Buffer.from(wanted))
