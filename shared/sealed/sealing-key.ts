/**
 * The key that prompts for a ring are sealed with: "I am rank 0 of epoch E of ring R in pool P; seal for X", signed by
 * the key of the device. The control plane passes it on and cannot put another in its place: who seals checks the
 * signature, and by the root key of the pool that the device is a member.
 *
 * Text form: base64url of a statement (`identity/signed-statement.ts`) with domain `meshnet-sealing-key-v1`, whose body
 * is `[version, pool id, ring id, epoch, device key, X25519 public key]`.
 */
import { MeshError } from '../errors.ts'
import { type KeyPair, toHex } from '../identity/keys.ts'
import { type Trust, verifyCertificate } from '../identity/pool-certificate.ts'
import { decodeArray, decodeStatement, encodeStatement, isSignedBy } from '../identity/signed-statement.ts'
import { encodeCbor, encodeInteger } from '../wire/envelope.ts'

/** An epoch of a ring, and the device that leads it. */
export interface LedEpoch {
  readonly poolId: string
  readonly ringId: string
  readonly epoch: number
  readonly leader: string
}

const domain = 'meshnet-sealing-key-v1'
const version = 1
const keyBytes = 32

const bodyOf = ({ poolId, ringId, epoch, leader }: LedEpoch, publicKey: Uint8Array): Uint8Array =>
  encodeCbor([version, Buffer.from(poolId, 'hex'), ringId, encodeInteger(epoch), Buffer.from(leader, 'hex'), publicKey])

/** @param publicKey X25519, 32 bytes. @returns its text form */
export const signSealingKey = (device: KeyPair, epoch: Omit<LedEpoch, 'leader'>, publicKey: Uint8Array): string =>
  Buffer.from(
    encodeStatement(domain, bodyOf({ ...epoch, leader: toHex(device.publicKey) }, publicKey), device),
  ).toString('base64url')

const bad = (problem: string, cause?: unknown): MeshError => new MeshError('sealingKeyInvalid', { problem }, cause)

const read = (text: string, wanted: LedEpoch): Uint8Array => {
  const statement = decodeStatement(Buffer.from(text, 'base64url'))
  const publicKey = decodeArray(statement.body, [6])[5]
  if (!(publicKey instanceof Uint8Array) || publicKey.length !== keyBytes) throw bad('it is no X25519 key')
  // all else must be exactly what is wanted: made anew, not taken apart
  if (Buffer.compare(statement.body, bodyOf(wanted, publicKey)) !== 0)
    throw bad('it is for another pool, ring, epoch or device')
  if (statement.admin !== undefined || !isSignedBy(Buffer.from(wanted.leader, 'hex'), domain, statement))
    throw bad('rank 0 did not sign it')
  return publicKey
}

const checked = <T>(check: () => T): T => {
  try {
    return check()
  } catch (error) {
    const failure = MeshError.from(error)
    throw failure.code === 'sealingKeyInvalid' ? failure : bad(failure.message, error)
  }
}

/**
 * The X25519 public key of rank 0.
 * @param sealing what the control plane shows: the statement, and the certificate of the device
 * @param trust the root key of the pool, as the caller knows it by itself; the time; who was removed
 * @throws MeshError `sealingKeyInvalid` (not signed by rank 0 of that epoch, or rank 0 is no member of the pool any
 * more)
 */
export const verifySealingKey = (
  sealing: { readonly key: string; readonly certificate: string },
  wanted: LedEpoch,
  trust: Trust,
): Uint8Array =>
  checked(() => {
    const { deviceId, poolId } = verifyCertificate(sealing.certificate, trust.rootPublicKey, trust.now, trust.removals)
    if (poolId !== wanted.poolId || deviceId !== wanted.leader) throw bad('the certificate is not that of rank 0')
    return read(sealing.key, wanted)
  })
