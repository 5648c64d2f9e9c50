/**
 * Membership certificates: "device D may act in pool P as R until T", signed by the pool's root key.
 *
 * Text form: base64url of CBOR `[body, signature]`, where `body` is the byte string that was signed: canonical CBOR
 * of a fixed array `[version, pool id, device key, role, serial, not before, not after]`, numbers as seconds. An array
 * of fixed order has one encoding, so the signed bytes are never re-encoded to be checked.
 * The signature covers the domain tag `meshnet-certificate-v1` and then `body`.
 */
import { createHash, randomBytes } from 'node:crypto'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { MeshError } from '../errors.ts'
import { type DeviceId, parseDeviceId, parsePoolId, type PoolId } from '../ids.ts'
import type { Role } from '../schema/pool.ts'
import { decodeCbor, encodeCbor } from '../wire/envelope.ts'
import { limits } from '../wire/limits.ts'
import { type KeyPair, signBytes, toHex, verifyBytes } from './keys.ts'

export interface Certificate {
  readonly poolId: PoolId
  readonly deviceId: DeviceId
  readonly role: Role
  readonly serial: string
  /** Milliseconds since 1970, whole seconds. */
  readonly notBefore: number
  readonly notAfter: number
}

/** Seven days: short enough that a removed member is out within a week even where no revocation reaches. */
export const certificateLifetimeMs = 7 * 86400e3
/** Clocks of two devices may differ by this much before a fresh certificate is refused as not valid yet. */
const startToleranceMs = limits.clockSkewMs

const domain = Buffer.from('meshnet-certificate-v1\0')
const version = 1
const roles: readonly Role[] = ['member', 'admin']

const Outer = Type.Array(Type.Any(), { minItems: 2, maxItems: 2 })

/** SHA-256 over a domain tag and the pool's root public key. */
export const poolIdOf = (rootPublicKey: Uint8Array): PoolId =>
  parsePoolId(createHash('sha256').update('meshnet-pool-v1\0').update(rootPublicKey).digest('hex'))

/** Signs a certificate with the pool's root key. @returns its text form */
export const issueCertificate = (
  root: KeyPair,
  subject: { readonly deviceId: DeviceId; readonly role: Role },
  now: number,
  lifetimeMs = certificateLifetimeMs,
): string => {
  const body = encodeCbor([
    version,
    Buffer.from(poolIdOf(root.publicKey), 'hex'),
    Buffer.from(subject.deviceId, 'hex'),
    roles.indexOf(subject.role),
    randomBytes(16),
    Math.floor(now / 1000),
    Math.floor((now + lifetimeMs) / 1000),
  ])
  const signature = signBytes(root, Buffer.concat([domain, body]))
  return Buffer.from(encodeCbor([body, signature])).toString('base64url')
}

const bad = (problem: string): MeshError => new MeshError('certificateInvalid', { problem })

const bytesOf = (value: unknown, length: number, what: string): Uint8Array => {
  if (!(value instanceof Uint8Array) || value.length !== length) throw bad(`${what} is not ${length} bytes`)
  return value
}

const secondsOf = (value: unknown, what: string): number => {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > 1e11) throw bad(`${what} is not a time`)
  return value * 1000
}

const decodeArray = (bytes: Uint8Array, length: number): unknown[] => {
  let value: unknown
  try {
    value = decodeCbor(Type.Any(), bytes)
  } catch (error) {
    throw new MeshError('certificateInvalid', { problem: 'it is not CBOR' }, error)
  }
  if (!Value.Check(Outer, value) && length === 2) throw bad('it is not a pair')
  if (!Array.isArray(value) || value.length !== length) throw bad(`it does not have ${length} fields`)
  return value
}

/**
 * Checks form, signature, pool and dates.
 * @param text base64url; anything a peer may have sent
 * @param rootPublicKey 32 bytes, of the pool that must have signed it
 * @throws MeshError `certificateInvalid` | `certificateExpired`
 */
export const verifyCertificate = (text: string, rootPublicKey: Uint8Array, now: number): Certificate => {
  if (text.length > 2 * limits.certificateBytes || !/^[A-Za-z0-9_-]+$/.test(text)) throw bad('it is not base64url of a certificate')
  const [body, signature] = decodeArray(Buffer.from(text, 'base64url'), 2)
  if (!(body instanceof Uint8Array) || !(signature instanceof Uint8Array)) throw bad('its parts are not bytes')
  if (!verifyBytes(rootPublicKey, Buffer.concat([domain, body]), signature)) throw bad('the signature is not of the root key of this pool')
  const fields = decodeArray(body, 7)
  if (fields[0] !== version) throw bad(`version ${String(fields[0])} is unknown`)
  const role = roles[fields[3] as number]
  if (role === undefined) throw bad('its role is unknown')
  const certificate: Certificate = {
    poolId: parsePoolId(toHex(bytesOf(fields[1], 32, 'pool id'))),
    deviceId: parseDeviceId(toHex(bytesOf(fields[2], 32, 'device key'))),
    role,
    serial: toHex(bytesOf(fields[4], 16, 'serial')),
    notBefore: secondsOf(fields[5], 'not before'),
    notAfter: secondsOf(fields[6], 'not after'),
  }
  if (certificate.poolId !== poolIdOf(rootPublicKey)) throw bad('it belongs to another pool')
  if (now + startToleranceMs < certificate.notBefore) throw bad(`it is valid from ${new Date(certificate.notBefore).toISOString()}; check the clock`)
  if (now >= certificate.notAfter) throw new MeshError('certificateExpired', { notAfter: new Date(certificate.notAfter).toISOString() })
  return certificate
}

/** The pool that a certificate names, not verified: to find the root key to check it with. */
export const poolIdIn = (text: string): PoolId | undefined => {
  try {
    const [body] = decodeArray(Buffer.from(text, 'base64url'), 2)
    return body instanceof Uint8Array ? parsePoolId(toHex(bytesOf(decodeArray(body, 7)[1], 32, 'pool id'))) : undefined
  } catch {
    return undefined
  }
}
