/**
 * What a pool says under its own name: certificates and revocation lists have this form.
 *
 * CBOR `[body, signature]`, signed by the pool's root key, or `[body, signature, certificate]`, signed by the admin of
 * whom that certificate (bytes, itself signed by the root key) speaks. `body` is the byte string that was signed, after
 * a domain tag: CBOR of a fixed array. Everything must be canonical (RFC 8949, 4.2), so a statement has one encoding.
 */
import { Type } from 'typebox'
import { MeshError } from '../errors.ts'
import { decodeCbor, encodeCbor } from '../wire/envelope.ts'
import { type KeyPair, signBytes, verifyBytes } from './keys.ts'

export interface Statement {
  readonly body: Uint8Array
  readonly signature: Uint8Array
  /** Certificate of the admin that signed; absent: the root key did. */
  readonly admin?: Uint8Array
}

const Anything = Type.Any()

const bad = (problem: string): MeshError => new MeshError('certificateInvalid', { problem })

const isBytes = (value: unknown): value is Uint8Array => value instanceof Uint8Array

/** A canonical CBOR array of that many fields. @throws MeshError `certificateInvalid` */
export const decodeArray = (bytes: Uint8Array, lengths: readonly number[]): unknown[] => {
  let value: unknown
  try {
    value = decodeCbor(Anything, bytes)
  } catch (error) {
    throw new MeshError('certificateInvalid', { problem: 'it is not CBOR' }, error)
  }
  if (!Array.isArray(value) || !lengths.includes(value.length))
    throw bad(`it does not have ${lengths.join(' or ')} fields`)
  if (Buffer.compare(encodeCbor(value), bytes) !== 0) throw bad('it is not canonical CBOR')
  return value
}

/** @throws MeshError `certificateInvalid` */
export const decodeStatement = (bytes: Uint8Array): Statement => {
  const [body, signature, admin] = decodeArray(bytes, [2, 3])
  if (!isBytes(body) || !isBytes(signature) || (admin !== undefined && !isBytes(admin)))
    throw bad('its parts are not bytes')
  return { body, signature, admin }
}

/** @param admin certificate of the signer; absent: `key` is the root key */
export const encodeStatement = (domain: string, body: Uint8Array, key: KeyPair, admin?: Uint8Array): Uint8Array => {
  const signature = signBytes(key, signedBytes(domain, body))
  return encodeCbor(admin === undefined ? [body, signature] : [body, signature, admin])
}

export const isSignedBy = (publicKey: Uint8Array, domain: string, { body, signature }: Statement): boolean =>
  verifyBytes(publicKey, signedBytes(domain, body), signature)

const signedBytes = (domain: string, body: Uint8Array): Uint8Array => Buffer.concat([Buffer.from(`${domain}\0`), body])
