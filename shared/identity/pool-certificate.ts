/**
 * Membership certificates: "device D may act in pool P as R until T", signed by the pool's root key or by an admin.
 *
 * Text form: base64url of a statement (`signed-statement.ts`) with domain `meshnet-certificate-v2`, whose body is
 * `[version, pool id, device key, role, serial, not before, not after]`, times as seconds. The root key alone names
 * admins; an admin signs for members, and what it signed holds as long as its own certificate does.
 */
import { createHash, randomBytes } from 'node:crypto'
import { MeshError } from '../errors.ts'
import { type DeviceId, parseDeviceId, parsePoolId, type PoolId, shortId } from '../ids.ts'
import type { Role } from '../schema/pool.ts'
import { encodeCbor } from '../wire/envelope.ts'
import { limits } from '../limits.ts'
import { type KeyPair, toHex } from './keys.ts'
import { decodeArray, decodeStatement, encodeStatement, isSignedBy, type Statement } from './signed-statement.ts'
import { formatTime } from '../words.ts'

export interface Certificate {
  readonly poolId: PoolId
  readonly deviceId: DeviceId
  readonly role: Role
  readonly serial: string
  /** Milliseconds since 1970, whole seconds. */
  readonly notBefore: number
  /** The end of its own time, or of that of the admin that signed it: whichever is nearer. */
  readonly notAfter: number
  /** The admin that signed; absent: the root key did. */
  readonly signedBy?: DeviceId
}

/** Who was removed from a pool, whatever certificate it still has. */
export interface Removals {
  has(deviceId: string): boolean
}

/** A key that may sign for a pool: its root key, or that of an admin with the certificate that says so. */
export type Signer = KeyPair | { readonly key: KeyPair; readonly certificate: string }

/** Seven days: short enough that a removed member is out within a week even where no revocation reaches. */
export const certificateLifetimeMs = 7 * 86400e3
/** Clocks of two devices may differ by this much before a fresh certificate is refused as not valid yet. */
const startToleranceMs = limits.clockSkewMs

const domain = 'meshnet-certificate-v2'
const version = 2
const roles: readonly Role[] = ['member', 'admin']
const fieldCount = 7
/** Largest time that is one CBOR integer of four bytes: in the year 2106. */
const lastSecond = 2 ** 32 - 1
const nobody: Removals = { has: () => false }

/** SHA-256 over a domain tag and the pool's root public key. */
export const poolIdOf = (rootPublicKey: Uint8Array): PoolId =>
  parsePoolId(createHash('sha256').update('meshnet-pool-v1\0').update(rootPublicKey).digest('hex'))

const bad = (problem: string): MeshError => new MeshError('certificateInvalid', { problem })

const bytesOf = (value: unknown, length: number, what: string): Uint8Array => {
  if (!(value instanceof Uint8Array) || value.length !== length) throw bad(`${what} is not ${length} bytes`)
  return value
}

const secondsOf = (value: unknown, what: string): number => {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > lastSecond)
    throw bad(`${what} is not a time`)
  return value * 1000
}

const fieldsOf = ({ body }: Statement): Certificate => {
  const fields = decodeArray(body, [fieldCount])
  if (fields[0] !== version) throw bad(`version ${String(fields[0])} is unknown`)
  const role = typeof fields[3] === 'number' ? roles[fields[3]] : undefined
  if (role === undefined) throw bad('its role is unknown')
  return {
    poolId: parsePoolId(toHex(bytesOf(fields[1], 32, 'pool id'))),
    deviceId: parseDeviceId(toHex(bytesOf(fields[2], 32, 'device key'))),
    role,
    serial: toHex(bytesOf(fields[4], 16, 'serial')),
    notBefore: secondsOf(fields[5], 'not before'),
    notAfter: secondsOf(fields[6], 'not after'),
  }
}

const bytesOfText = (text: string): Uint8Array => {
  if (text.length > 2 * limits.certificateBytes || !/^[A-Za-z0-9_-]+$/.test(text))
    throw bad('it is not base64url of a certificate')
  const bytes = Buffer.from(text, 'base64url')
  // the last digit may carry bits that no byte has: another text for the same bytes
  if (bytes.toString('base64url') !== text) throw bad('it is not base64url of a certificate')
  return bytes
}

/** What a statement is checked against. */
export interface Trust {
  /** 32 bytes, of the pool that must have signed. */
  readonly rootPublicKey: Uint8Array
  readonly now: number
  readonly removals: Removals
}

/** Signature of root key or admin. @returns the admin that signed, if it was one */
export const checkSigner = (statement: Statement, signedDomain: string, trust: Trust): Certificate | undefined => {
  if (statement.admin === undefined) {
    if (!isSignedBy(trust.rootPublicKey, signedDomain, statement))
      throw bad('the signature is not of the root key of this pool')
    return undefined
  }
  const named = decodeStatement(statement.admin)
  if (named.admin !== undefined) throw bad('the device that signed it was not named by the root key')
  const admin = checkCertificate(named, trust)
  if (admin.role !== 'admin') throw bad('it is signed by a device that is no admin')
  if (!isSignedBy(Buffer.from(admin.deviceId, 'hex'), signedDomain, statement))
    throw bad('the signature is not of the admin that it names')
  return admin
}

const checkCertificate = (statement: Statement, trust: Trust): Certificate => {
  const { now, removals, rootPublicKey } = trust
  const admin = checkSigner(statement, domain, trust)
  const own = fieldsOf(statement)
  if (own.poolId !== poolIdOf(rootPublicKey)) throw bad('it belongs to another pool')
  if (admin && own.role === 'admin') throw bad('the root key alone names admins')
  const certificate = admin
    ? { ...own, notAfter: Math.min(own.notAfter, admin.notAfter), signedBy: admin.deviceId }
    : own
  if (removals.has(own.deviceId))
    throw new MeshError('memberRemoved', { deviceId: shortId(own.deviceId), poolId: shortId(own.poolId) })
  if (now + startToleranceMs < own.notBefore)
    throw bad(`it is valid from ${formatTime(own.notBefore)}; check the clock`)
  if (now >= certificate.notAfter) throw new MeshError('certificateExpired', { notAfter: certificate.notAfter })
  return certificate
}

/**
 * Checks form, signatures up to the root key, pool, dates and removal.
 * @param text base64url; anything a peer may have sent
 * @param rootPublicKey 32 bytes, of the pool that must have signed it
 * @throws MeshError `certificateInvalid` | `certificateExpired` | `memberRemoved` (the device, or the admin that
 * signed)
 */
export const verifyCertificate = (
  text: string,
  rootPublicKey: Uint8Array,
  now: number,
  removals: Removals = nobody,
): Certificate => checkCertificate(decodeStatement(bytesOfText(text)), { rootPublicKey, now, removals })

/**
 * A certificate is worth something to its own device alone.
 * @param deviceId the device that shows it, by the key that it proved
 * @throws MeshError `certificateInvalid`
 */
export const checkOwner = (certificate: Certificate, deviceId: string | undefined): void => {
  if (certificate.deviceId !== deviceId) throw bad('it belongs to another device')
}

/** True for the certificate of a device that was removed, or that an admin let in who was. */
export const isRemoved = ({ deviceId, signedBy }: Certificate, removals: Removals): boolean =>
  removals.has(deviceId) || (signedBy !== undefined && removals.has(signedBy))

/** How long after its end a certificate can still be renewed: a machine may be off for a holiday. */
const renewableMs = 90 * 86400e3

/**
 * A certificate that may be renewed: one that holds, or did until a while ago, of a device that was not removed.
 * @throws MeshError as `verifyCertificate`
 */
export const verifyForRenewal = (
  text: string,
  rootPublicKey: Uint8Array,
  now: number,
  removals: Removals,
): Certificate => {
  const statement = decodeStatement(bytesOfText(text))
  const ends = [statement, ...(statement.admin ? [decodeStatement(statement.admin)] : [])].map(
    (one) => fieldsOf(one).notAfter,
  )
  const lastMs = Math.min(now, ...ends.map((end) => end - 1000))
  return checkCertificate(statement, { rootPublicKey, now: now - lastMs > renewableMs ? now : lastMs, removals })
}

/** Signs a certificate. One that an admin signs ends with that of the admin at the latest. @returns its text form */
export const issueCertificate = (
  signer: Signer,
  subject: { readonly deviceId: DeviceId; readonly role: Role },
  now: number,
  lifetimeMs = certificateLifetimeMs,
): string => {
  const { poolId, lastMs, statement } = signing(signer)
  const body = encodeCbor([
    version,
    Buffer.from(poolId, 'hex'),
    Buffer.from(subject.deviceId, 'hex'),
    roles.indexOf(subject.role),
    randomBytes(16),
    Math.floor(now / 1000),
    Math.min(lastSecond, Math.floor(Math.min(now + lifetimeMs, lastMs) / 1000)),
  ])
  return Buffer.from(statement(domain, body)).toString('base64url')
}

interface Signing {
  readonly poolId: PoolId
  /** Nothing that is signed may hold longer. */
  readonly lastMs: number
  statement(signedDomain: string, body: Uint8Array): Uint8Array
}

/** How a signer signs. An admin's own certificate is not checked here: whoever reads what it signed does. */
export const signing = (signer: Signer): Signing => {
  if ('seed' in signer)
    return {
      poolId: poolIdOf(signer.publicKey),
      lastMs: Infinity,
      statement: (signedDomain, body) => encodeStatement(signedDomain, body, signer),
    }
  const certificate = bytesOfText(signer.certificate)
  const { poolId, notAfter } = fieldsOf(decodeStatement(certificate))
  return {
    poolId,
    lastMs: notAfter,
    statement: (signedDomain, body) => encodeStatement(signedDomain, body, signer.key, certificate),
  }
}

/** The pool that a certificate names, not verified: to find the root key to check it with. */
export const poolIdIn = (text: string): PoolId | undefined => {
  try {
    return fieldsOf(decodeStatement(bytesOfText(text))).poolId
  } catch {
    return undefined
  }
}
