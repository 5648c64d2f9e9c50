/**
 * Who was removed from a pool: one list, signed by the root key or by an admin, replaced by the next one.
 *
 * Text form: base64url of a statement (`signed-statement.ts`) with domain `meshnet-revocations-v1`, whose body is
 * `[version, pool id, number, time in seconds, [device key, ...]]`, keys ascending. An admin that signed must have been
 * one at that time, so a list holds longer than the certificate of its signer.
 */
import { MeshError } from '../errors.ts'
import { type DeviceId, parseDeviceId, type PoolId } from '../ids.ts'
import { encodeCbor } from '../wire/envelope.ts'
import { limits } from '../limits.ts'
import { toHex } from './keys.ts'
import { checkSigner, poolIdOf, type Removals, type Signer, signing } from './pool-certificate.ts'
import { decodeArray, decodeStatement } from './signed-statement.ts'

export interface RevocationList {
  readonly poolId: PoolId
  /** Grows with every change. */
  readonly number: number
  /** Milliseconds since 1970, whole seconds. */
  readonly time: number
  readonly removed: ReadonlySet<DeviceId>
  /** The admin that signed; absent: the root key did. */
  readonly signedBy?: DeviceId
  /** The list as it travels. */
  readonly text: string
}

const domain = 'meshnet-revocations-v1'
const version = 1

/**
 * Signs the list that comes after number `after`.
 * @returns its text form;
 * @throws MeshError `overloaded` (too many devices)
 */
export const signRevocations = (
  signer: Signer,
  { after, removed }: { readonly after: number; readonly removed: Iterable<string> },
  now: number,
): string => {
  const devices = [...new Set(removed)].toSorted()
  if (devices.length > limits.removedDevices)
    throw new MeshError('overloaded', { what: 'the revocation list', limit: limits.removedDevices })
  const { poolId, statement } = signing(signer)
  const body = encodeCbor([
    version,
    Buffer.from(poolId, 'hex'),
    after + 1,
    Math.floor(now / 1000),
    devices.map((device) => Buffer.from(device, 'hex')),
  ])
  return Buffer.from(statement(domain, body)).toString('base64url')
}

const bad = (problem: string): MeshError => new MeshError('revocationsInvalid', { problem })

const isCount = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < 2 ** 32

const deviceOf = (value: unknown): DeviceId => {
  if (!(value instanceof Uint8Array) || value.length !== 32) throw bad('a device key is not 32 bytes')
  return parseDeviceId(toHex(value))
}

const read = (text: string, rootPublicKey: Uint8Array, now: number): RevocationList => {
  if (text.length > limits.revocationBytes || !/^[A-Za-z0-9_-]+$/.test(text)) throw bad('it is not base64url of a list')
  const statement = decodeStatement(Buffer.from(text, 'base64url'))
  const [kind, pool, number, seconds, keys] = decodeArray(statement.body, [5])
  if (kind !== version) throw bad(`version ${String(kind)} is unknown`)
  if (!isCount(number) || !isCount(seconds) || !Array.isArray(keys) || keys.length > limits.removedDevices)
    throw bad('its fields are wrong')
  const poolId = poolIdOf(rootPublicKey)
  if (!(pool instanceof Uint8Array) || toHex(pool) !== poolId) throw bad('it belongs to another pool')
  const time = seconds * 1000
  if (time > now + limits.clockSkewMs) throw bad('it is from the future; check the clock')
  const devices = keys.map(deviceOf)
  if (devices.some((device, index) => index > 0 && device <= devices[index - 1])) throw bad('its keys are not in order')
  const removed = new Set(devices)
  const admin = checkSigner(statement, domain, { rootPublicKey, now: time, removals: removed as ReadonlySet<string> })
  return { poolId, number, time, removed, signedBy: admin?.deviceId, text }
}

/** @param text anything a peer may have sent. @throws MeshError `revocationsInvalid` */
export const readRevocations = (text: string, rootPublicKey: Uint8Array, now: number): RevocationList => {
  try {
    return read(text, rootPublicKey, now)
  } catch (error) {
    const failure = MeshError.from(error)
    throw failure.code === 'revocationsInvalid'
      ? failure
      : new MeshError('revocationsInvalid', { problem: failure.message }, error)
  }
}

/**
 * Whether a list takes the place of the one that is held. The higher number wins; a signer that the held list removed
 * cannot replace it, and the root key can always undo what such a signer did elsewhere.
 */
export const replaces = (next: RevocationList, held: RevocationList | undefined): boolean => {
  if (held === undefined) return true
  if (next.signedBy !== undefined && held.removed.has(next.signedBy)) return false
  if (next.signedBy === undefined && held.signedBy !== undefined && next.removed.has(held.signedBy)) return true
  if (next.number !== held.number) return next.number > held.number
  // two admins at the same time: every device must end with the same one
  return next.removed.size === held.removed.size ? next.text > held.text : next.removed.size > held.removed.size
}

/** The removals of a list that may not be there yet. */
export const removalsOf = (list: RevocationList | undefined): Removals => ({
  has: (deviceId) => list?.removed.has(deviceId as DeviceId) ?? false,
})
