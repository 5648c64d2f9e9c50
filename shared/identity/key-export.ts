/**
 * The root key of a pool, or the key of a control plane, as a line that can be kept elsewhere, encrypted with a
 * passphrase.
 *
 * `mesh-pool-key:` and base64url of canonical CBOR `[version, log2 N, salt, nonce, sealed]`: scrypt (RFC 7914, r 8, p
 * 1) makes a key of the passphrase, AES-256-GCM seals CBOR `[seed, name]` with it; the fields before are authenticated
 * too. `mesh-control-plane-key:` is the same with `[key in DER of PKCS #8]`.
 */
import { createCipheriv, createDecipheriv, randomBytes, scryptSync } from 'node:crypto'
import { MeshError } from '../errors.ts'
import { encodeCbor } from '../wire/envelope.ts'
import { type ControlPlaneKey, parseControlPlaneKey } from './control-plane-key.ts'
import { type KeyPair, keyPairFromSeed } from './keys.ts'
import { decodeArray } from './signed-statement.ts'

export interface ExportedKey {
  readonly key: KeyPair
  /** Of the pool. */
  readonly name: string
}

/** Shorter ones fall to a list of words, whatever scrypt costs. */
export const passphraseLength = 10

const poolPrefix = 'mesh-pool-key:'
const controlPlanePrefix = 'mesh-control-plane-key:'
const version = 1
/** 128 MiB and half a second on a laptop, for each guess. */
const logN = 17
/** What a file may ask of us: 1 GiB. */
const maxLogN = 20
const saltBytes = 16
const nonceBytes = 12
const tagBytes = 16
const maxLength = 1000

const keyOf = (passphrase: string, salt: Uint8Array, cost: number): Buffer =>
  scryptSync(passphrase.normalize('NFKC'), salt, 32, {
    N: 2 ** cost,
    r: 8,
    p: 1,
    maxmem: 2 ** cost * 8 * 128 + 2 ** 20,
  })

const headOf = (cost: number, salt: Uint8Array, nonce: Uint8Array): Uint8Array =>
  encodeCbor([version, cost, Buffer.from(salt), Buffer.from(nonce)])

/** @throws MeshError `usage` for a passphrase that is too short */
const seal = (prefix: string, content: readonly unknown[], passphrase: string): string => {
  if (passphrase.length < passphraseLength)
    throw new MeshError('usage', { problem: `the passphrase needs ${passphraseLength} characters or more` })
  const [salt, nonce] = [randomBytes(saltBytes), randomBytes(nonceBytes)]
  const cipher = createCipheriv('aes-256-gcm', keyOf(passphrase, salt, logN), nonce)
  cipher.setAAD(headOf(logN, salt, nonce))
  const sealed = Buffer.concat([cipher.update(encodeCbor(content)), cipher.final(), cipher.getAuthTag()])
  return prefix + Buffer.from(encodeCbor([version, logN, salt, nonce, sealed])).toString('base64url')
}

/** @throws MeshError `usage` for a passphrase that is too short */
export const exportKey = ({ key, name }: ExportedKey, passphrase: string): string =>
  seal(poolPrefix, [Buffer.from(key.seed), name], passphrase)

/** @throws MeshError `usage` for a passphrase that is too short */
export const exportControlPlaneKey = ({ privateKey }: ControlPlaneKey, passphrase: string): string =>
  seal(controlPlanePrefix, [privateKey.export({ type: 'pkcs8', format: 'der' })], passphrase)

const bad = (problem: string): MeshError => new MeshError('keyExportInvalid', { problem })

interface Sealed {
  readonly cost: number
  readonly salt: Uint8Array
  readonly nonce: Uint8Array
  readonly sealed: Uint8Array
}

const fieldsOf = (bytes: Uint8Array, length: number): unknown[] => {
  try {
    return decodeArray(bytes, [length])
  } catch (error) {
    throw new MeshError('keyExportInvalid', { problem: 'it is damaged, or a part of it is missing' }, error)
  }
}

const read = (prefix: string, pasted: string): Sealed => {
  const text = pasted.trim()
  if (!text.startsWith(prefix)) throw bad(`it does not begin with ${prefix}`)
  const digits = text.slice(prefix.length)
  if (digits.length > maxLength || !/^[A-Za-z0-9_-]+$/.test(digits)) throw bad('it is not one whole line')
  const [kind, cost, salt, nonce, sealed] = fieldsOf(Buffer.from(digits, 'base64url'), 5)
  if (kind !== version) throw bad(`version ${String(kind)} is unknown`)
  if (typeof cost !== 'number' || !Number.isInteger(cost) || cost < 1 || cost > maxLogN)
    throw bad('it asks for too much memory')
  if (
    !(salt instanceof Uint8Array && nonce instanceof Uint8Array && sealed instanceof Uint8Array) ||
    nonce.length !== nonceBytes ||
    sealed.length <= tagBytes
  )
    throw bad('it is damaged')
  return { cost, salt, nonce, sealed }
}

/** @throws MeshError `keyExportInvalid` | `passphraseWrong` (or a changed byte: the two cannot be told apart) */
const unseal = (
  prefix: string,
  text: string,
  { passphrase, length }: { readonly passphrase: string; readonly length: number },
): unknown[] => {
  const { cost, salt, nonce, sealed } = read(prefix, text)
  const decipher = createDecipheriv('aes-256-gcm', keyOf(passphrase, salt, cost), nonce, { authTagLength: tagBytes })
  decipher.setAAD(headOf(cost, salt, nonce))
  decipher.setAuthTag(sealed.subarray(-tagBytes))
  let content: Buffer
  try {
    content = Buffer.concat([decipher.update(sealed.subarray(0, -tagBytes)), decipher.final()])
  } catch (error) {
    throw new MeshError('passphraseWrong', {}, error)
  }
  return fieldsOf(content, length)
}

/** @throws MeshError `keyExportInvalid` | `passphraseWrong` */
export const importControlPlaneKey = (text: string, passphrase: string): ControlPlaneKey => {
  const [der] = unseal(controlPlanePrefix, text, { passphrase, length: 1 })
  const key = der instanceof Uint8Array ? parseControlPlaneKey(Buffer.from(der)) : undefined
  if (key === undefined) throw bad('it holds no key')
  return key
}

/** @throws MeshError `keyExportInvalid` | `passphraseWrong` */
export const importKey = (text: string, passphrase: string): ExportedKey => {
  const [seed, name] = unseal(poolPrefix, text, { passphrase, length: 2 })
  if (!(seed instanceof Uint8Array) || seed.length !== 32 || typeof name !== 'string') throw bad('it holds no key')
  return { key: keyPairFromSeed(new Uint8Array(seed)), name }
}
