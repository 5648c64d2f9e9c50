/** Ed25519 (RFC 8032) keys as raw bytes: seeds of 32 bytes, public keys of 32, signatures of 64. */
import { getPublicKey, hashes, sign, utils, verify } from '@noble/ed25519'
import { sha512 } from '@noble/hashes/sha2.js'
import { MeshError } from '../errors.ts'

hashes.sha512 = sha512

/** A signing key. `seed` never leaves the process except into a file of mode 0600. */
export interface KeyPair {
  readonly seed: Uint8Array
  readonly publicKey: Uint8Array
}

export const keyPairFromSeed = (seed: Uint8Array): KeyPair => {
  if (seed.length !== 32) throw new RangeError(`a seed has 32 bytes, got ${seed.length}`)
  return { seed, publicKey: getPublicKey(seed) }
}

export const newKeyPair = (): KeyPair => keyPairFromSeed(utils.randomSecretKey())

/** Signature of 64 bytes. */
export const signBytes = (key: KeyPair, message: Uint8Array): Uint8Array => sign(message, key.seed)

/** False for a wrong signature as well as for a malformed key or signature; never throws. Strict RFC 8032 rules. */
export const verifyBytes = (publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean => {
  if (publicKey.length !== 32 || signature.length !== 64) return false
  try {
    return verify(signature, message, publicKey, { zip215: false })
  } catch {
    return false
  }
}

export const toHex = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')

/** @throws MeshError `usage` when the text is not `length` bytes in hex */
export const fromHex = (text: string, length: number, what: string): Uint8Array => {
  if (text.length !== 2 * length || !/^[0-9a-fA-F]*$/.test(text)) {
    throw new MeshError('usage', { problem: `${what} must be ${2 * length} hex digits, got "${text.slice(0, 80)}"` })
  }
  return new Uint8Array(Buffer.from(text, 'hex'))
}
