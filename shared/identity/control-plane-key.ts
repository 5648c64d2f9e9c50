/**
 * The key of a control plane: by it devices know that they speak to the right one, whatever its address.
 *
 * ECDSA P-256, because browsers speak it in TLS (they take no Ed25519 certificates). The file is PEM of PKCS #8, mode
 * 0600. The id of a control plane is the SHA-256 of its public key as X.509 has it (DER SubjectPublicKeyInfo), so it
 * can be compared with any certificate of the key, whatever names and dates that bears.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  type X509Certificate,
} from 'node:crypto'
import { chmodSync } from 'node:fs'
import { MeshError } from '../errors.ts'
import { createState, readState, writeState } from '../home.ts'
import { type ControlPlaneId, parseControlPlaneId } from '../ids.ts'

const curve = 'prime256v1'

export interface ControlPlaneKey {
  readonly id: ControlPlaneId
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
  /**
   * A secret of 32 bytes that follows from the key (HKDF-SHA256, RFC 5869): the same for the same purpose, on whatever
   * machine the key is, and telling nothing of the key or of the secrets of other purposes.
   */
  secretFor(purpose: string): Buffer
}

/** Id of the control plane whose key this is: SHA-256 of the DER SubjectPublicKeyInfo. */
export const controlPlaneIdOf = (publicKey: KeyObject): ControlPlaneId =>
  parseControlPlaneId(
    createHash('sha256')
      .update(publicKey.export({ type: 'spki', format: 'der' }))
      .digest('hex'),
  )

/** Id of the control plane that a certificate was made for. Whether its holder has the key, the TLS handshake shows. */
export const controlPlaneIdIn = (certificate: X509Certificate): ControlPlaneId =>
  controlPlaneIdOf(certificate.publicKey)

const keyOf = (privateKey: KeyObject): ControlPlaneKey => {
  const publicKey = createPublicKey(privateKey)
  const scalar = Buffer.from(String(privateKey.export({ format: 'jwk' }).d), 'base64url')
  return {
    id: controlPlaneIdOf(publicKey),
    privateKey,
    publicKey,
    secretFor: (purpose) => Buffer.from(hkdfSync('sha256', scalar, '', `meshnet-control-plane-v1 ${purpose}`, 32)),
  }
}

export const newControlPlaneKey = (): ControlPlaneKey =>
  keyOf(generateKeyPairSync('ec', { namedCurve: curve }).privateKey)

/** The key as its file has it. */
export const controlPlaneKeyText = ({ privateKey }: ControlPlaneKey): string =>
  String(privateKey.export({ type: 'pkcs8', format: 'pem' }))

/** @param encoded PEM, or DER of PKCS #8. @returns `undefined` for what is no key of this kind */
export const parseControlPlaneKey = (encoded: string | Buffer): ControlPlaneKey | undefined => {
  try {
    const privateKey = createPrivateKey(
      typeof encoded === 'string' ? encoded : { key: encoded, format: 'der', type: 'pkcs8' },
    )
    return privateKey.asymmetricKeyDetails?.namedCurve === curve ? keyOf(privateKey) : undefined
  } catch {
    return undefined
  }
}

/**
 * The key in a file, or `undefined` when there is none.
 * @throws MeshError `controlPlaneKeyUnreadable` | `stateUnreadable`
 */
export const loadControlPlaneKey = (file: string): ControlPlaneKey | undefined => {
  const text = readState(file)?.toString('utf8')
  if (text === undefined) return undefined
  const key = parseControlPlaneKey(text)
  if (key === undefined) throw new MeshError('controlPlaneKeyUnreadable', { file })
  return key
}

/** @throws MeshError `stateUnwritable` */
export const saveControlPlaneKey = (file: string, key: ControlPlaneKey): void => {
  writeState(file, controlPlaneKeyText(key), 0o600)
  chmodSync(file, 0o600)
}

/**
 * The key in a file, made where there is none: of several processes that make one, all end with the same.
 * @throws MeshError `controlPlaneKeyUnreadable` | `stateUnreadable` | `stateUnwritable`
 */
export const ownControlPlaneKey = (file: string): ControlPlaneKey => {
  const known = loadControlPlaneKey(file)
  if (known) return known
  const key = newControlPlaneKey()
  return createState(file, controlPlaneKeyText(key), 0o600) ? key : ownControlPlaneKey(file)
}
