/**
 * "Pool P is served by control plane K": by this statement devices know the right control plane, whoever names an
 * address.
 *
 * Text form: base64url of a statement (`signed-statement.ts`) with domain `meshnet-control-plane-pin-v1`, whose body is
 * `[version, pool id, control plane id, number, time in seconds]`, signed by the root key or by an admin. The highest
 * number holds. An admin that signed must have been one at that time, so a pin holds longer than its certificate; but
 * not longer than its membership: once the admin was removed, any pin of somebody who was not takes its place.
 */
import { MeshError } from '../errors.ts'
import { type ControlPlaneId, type DeviceId, parseControlPlaneId, type PoolId } from '../ids.ts'
import { encodeCbor } from '../wire/envelope.ts'
import { limits } from '../limits.ts'
import { toHex } from './keys.ts'
import { checkSigner, poolIdOf, type Removals, type Signer, signing } from './pool-certificate.ts'
import { decodeArray, decodeStatement } from './signed-statement.ts'

export interface ControlPlanePin {
  readonly poolId: PoolId
  readonly controlPlaneId: ControlPlaneId
  /** Grows with every change; the first is 1. */
  readonly number: number
  /** Milliseconds since 1970, whole seconds. */
  readonly time: number
  /** The admin that signed; absent: the root key did. */
  readonly signedBy?: DeviceId
  /** The pin as it travels. */
  readonly text: string
}

const domain = 'meshnet-control-plane-pin-v1'
const version = 1
const fieldCount = 5
/** The largest integer of four bytes: as a number one that nobody can go beyond, as a time in the year 2106. */
const most = 2 ** 32 - 1

/**
 * Signs the pin that comes after number `after`. Behind the last number there is none: then it takes that number as
 * well, and holds once whoever used it up was removed.
 * @returns its text form
 */
export const signPin = (
  signer: Signer,
  { after, controlPlaneId }: { readonly after: number; readonly controlPlaneId: ControlPlaneId },
  now: number,
): string => {
  const { poolId, statement } = signing(signer)
  const number = Math.min(after + 1, most)
  const fields = [
    version,
    Buffer.from(poolId, 'hex'),
    Buffer.from(controlPlaneId, 'hex'),
    number,
    Math.floor(now / 1000),
  ]
  return Buffer.from(statement(domain, encodeCbor(fields))).toString('base64url')
}

const bad = (problem: string): MeshError => new MeshError('pinInvalid', { problem })

const isCount = (value: unknown, least: number): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most

const read = (text: string, rootPublicKey: Uint8Array, now: number): ControlPlanePin => {
  if (text.length > limits.pinLength || !/^[A-Za-z0-9_-]+$/.test(text)) throw bad('it is not base64url of a pin')
  const bytes = Buffer.from(text, 'base64url')
  // another text for the same bytes would be a pin that differs and says the same
  if (bytes.toString('base64url') !== text) throw bad('it is not base64url of a pin')
  const statement = decodeStatement(bytes)
  const [kind, pool, controlPlane, number, seconds] = decodeArray(statement.body, [fieldCount])
  if (kind !== version) throw bad(`version ${String(kind)} is unknown`)
  if (!(controlPlane instanceof Uint8Array) || controlPlane.length !== 32)
    throw bad('the key that it names is not 32 bytes')
  if (!isCount(number, 1) || !isCount(seconds, 0)) throw bad('its fields are wrong')
  const poolId = poolIdOf(rootPublicKey)
  if (!(pool instanceof Uint8Array) || toHex(pool) !== poolId) throw bad('it belongs to another pool')
  const time = seconds * 1000
  if (time > now + limits.clockSkewMs) throw bad('it is from the future; check the clock')
  // whether the signer was removed since is asked where pins are compared: a removal may come in later than the pin
  const admin = checkSigner(statement, domain, { rootPublicKey, now: time, removals: { has: () => false } })
  return {
    poolId,
    controlPlaneId: parseControlPlaneId(toHex(controlPlane)),
    number,
    time,
    signedBy: admin?.deviceId,
    text,
  }
}

/** @param text anything a peer may have sent. @throws MeshError `pinInvalid` */
export const readPin = (text: string, rootPublicKey: Uint8Array, now: number): ControlPlanePin => {
  try {
    return read(text, rootPublicKey, now)
  } catch (error) {
    const failure = MeshError.from(error)
    throw failure.code === 'pinInvalid' ? failure : new MeshError('pinInvalid', { problem: failure.message }, error)
  }
}

/** The admin that signed it was removed: it binds nobody who has heard of that, and nobody takes it over. */
export const isVoid = ({ signedBy }: ControlPlanePin, removals: Removals): boolean =>
  signedBy !== undefined && removals.has(signedBy)

/**
 * Whether a pin takes the place of the one that is held: the higher number does, one whose signer was removed never.
 * @param removals who was removed, as far as this side knows
 */
export const replacesPin = (next: ControlPlanePin, held: ControlPlanePin | undefined, removals: Removals): boolean => {
  if (isVoid(next, removals)) return false
  if (held === undefined || isVoid(held, removals)) return true
  if (next.number !== held.number) return next.number > held.number
  // two signers at the same time: every device must end with the same pin, and the root key has the last word
  const isOfRoot = next.signedBy === undefined
  return isOfRoot === (held.signedBy === undefined) ? next.text > held.text : isOfRoot
}
