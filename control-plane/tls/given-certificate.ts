/** A certificate from an authority that everybody trusts, from files that some other program keeps new. */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { MeshError, problemOf } from '../../shared/errors.ts'
import type { TlsIdentity } from './certificates.ts'

export interface CertificateFiles {
  readonly cert: string
  readonly key: string
}

/** Of options that come together. @throws MeshError `usage` */
export const certificateFiles = ({
  tlsCert: cert,
  tlsKey: key,
}: {
  readonly tlsCert?: string
  readonly tlsKey?: string
}): CertificateFiles | undefined => {
  if (cert === undefined && key === undefined) return undefined
  if (cert === undefined || key === undefined)
    throw new MeshError('usage', {
      problem: '--tls-cert and --tls-key are given together: the certificate with its chain, and its key',
    })
  return { cert, key }
}

const read = (file: string, flag: string): string => {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new MeshError('fileUnreadable', { file, flag, problem: problemOf(error) }, error)
  }
}

export interface GivenCertificate extends TlsIdentity {
  readonly certificate: X509Certificate
  /** What the files were like when they were read. */
  readonly state: string
}

/** Tells whether the files were written since. @throws Error */
export const stateOf = ({ cert, key }: CertificateFiles): string =>
  [cert, key]
    .map((file) => statSync(file))
    .map(({ mtimeMs, size, ino }) => `${mtimeMs} ${size} ${ino}`)
    .join()

/** @throws MeshError `fileUnreadable` (missing, no certificate or key, or the two do not belong together) */
export const readGivenCertificate = (files: CertificateFiles): GivenCertificate => {
  const [cert, key] = [read(files.cert, '--tls-cert'), read(files.key, '--tls-key')]
  const state = stateOf(files)
  let certificate: X509Certificate
  try {
    certificate = new X509Certificate(cert)
  } catch (error) {
    throw new MeshError(
      'fileUnreadable',
      { file: files.cert, flag: '--tls-cert', problem: `it holds no certificate in PEM (${problemOf(error)})` },
      error,
    )
  }
  try {
    if (!certificate.checkPrivateKey(createPrivateKey(key))) throw new Error(`it is not the key of ${files.cert}`)
    createSecureContext({ cert, key }) // the whole chain
  } catch (error) {
    throw new MeshError('fileUnreadable', { file: files.key, flag: '--tls-key', problem: problemOf(error) }, error)
  }
  return { cert, key, certificate, state }
}
