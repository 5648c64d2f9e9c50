/**
 * Signed statements on a memory lock: "device D commits B bytes with cooldown C", "... unlocked it", "... is free".
 *
 * Text form: base64url of CBOR `[body, signature]`, where `body` is the byte string that was signed: canonical CBOR of
 * the fixed array `[version, device key, sequence, phase, bytes, cooldown in ms, time in s]`. The signature, by the
 * device key, covers the domain tag `meshnet-resource-lock-v1` and then `body`.
 */
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { MeshError } from '../errors.ts'
import { Commitment, type LockPhase } from '../schema/lock.ts'
import { decodeCbor, encodeCbor } from '../wire/envelope.ts'
import { type KeyPair, signBytes, verifyBytes } from './keys.ts'

const domain = Buffer.from('meshnet-resource-lock-v1\0')
const version = 1
const phases: readonly LockPhase[] = ['locked', 'cooling', 'released']

const Bytes = Type.Unsafe<Uint8Array>(Type.Refine(Type.Unknown(), (value) => value instanceof Uint8Array))
const Outer = Type.Tuple([Bytes, Bytes])
const Body = Type.Array(Type.Unknown(), { minItems: 7, maxItems: 7 })

/** Canonical CBOR wants an integer, and the library writes larger numbers as floats. */
const whole = (value: number): number | bigint => (value > 0xffff_ffff ? BigInt(value) : value)

export const signCommitment = (key: KeyPair, { sequence, phase, memoryBytes, cooldownMs, at }: Commitment): string => {
  const body = encodeCbor([
    version,
    key.publicKey,
    sequence,
    phases.indexOf(phase),
    whole(memoryBytes),
    whole(cooldownMs),
    whole(Math.floor(at / 1000)),
  ])
  return Buffer.from(encodeCbor([body, signBytes(key, Buffer.concat([domain, body]))])).toString('base64url')
}

const bad = (problem: string, cause?: unknown): MeshError => new MeshError('lockInvalid', { problem }, cause)

/**
 * What the statement says. @param publicKey of the device that must have signed it
 * @throws MeshError `lockInvalid`
 */
export const verifyCommitment = (text: string, publicKey: Uint8Array): Commitment => {
  let fields: unknown[]
  try {
    const [body, signature] = decodeCbor(Outer, Buffer.from(text, 'base64url'))
    if (!verifyBytes(publicKey, Buffer.concat([domain, body]), signature))
      throw bad('its signature is not of this device')
    fields = decodeCbor(Body, body)
  } catch (error) {
    throw error instanceof MeshError && error.code === 'lockInvalid'
      ? error
      : bad('it is not CBOR of two byte strings', error)
  }
  const [found, device, sequence, phase, memoryBytes, cooldownMs, seconds] = fields.map((value) =>
    typeof value === 'bigint' ? Number(value) : value,
  )
  if (found !== version) throw bad(`version ${String(found)} is unknown`)
  if (!(device instanceof Uint8Array) || Buffer.compare(device, publicKey) !== 0) throw bad('it names another device')
  const commitment = { sequence, phase: phases[phase as number], memoryBytes, cooldownMs, at: Number(seconds) * 1000 }
  if (!Value.Check(Commitment, commitment)) throw bad('its fields are out of range')
  return commitment
}
