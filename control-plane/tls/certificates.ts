/**
 * Certificates of the key of a control plane. Devices look at nothing in them but the key; browsers and the programs of
 * apps, which are told to trust the authority, look at names and dates too.
 *
 * The authority is made once and never changes, so that what trusts it goes on to; the certificate that TLS shows is
 * signed by it, bears the addresses of now, and is made again when these change. Both have the same key.
 */
// oxlint-disable-next-line import/no-unassigned-import -- @peculiar/x509 wants it to be there
import 'reflect-metadata'
import { webcrypto, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from '@peculiar/x509'
import { readState, writeState } from '../../shared/home.ts'
import { controlPlaneIdIn, type ControlPlaneKey, controlPlaneKeyText } from '../../shared/identity/control-plane-key.ts'
import { shortId } from '../../shared/ids.ts'
import { isPrivateName, nameConstraints } from './name-constraints.ts'

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const nameConstraintsId = '2.5.29.30'
const dayMs = 86400e3
/** Whatever the clock said when it was made: clocks of home servers begin in odd years. */
const authorityDates = { notBefore: new Date('2020-01-01T00:00:00Z'), notAfter: new Date('2049-12-31T00:00:00Z') }
/** Browsers refuse longer ones of 825 days and more also from authorities that they were told to trust. */
const leafMs = 365 * dayMs
/** Before that much of its life is left it is made again. */
const renewMs = 30 * dayMs

const importKeys = async (
  key: ControlPlaneKey,
): Promise<{ privateKey: webcrypto.CryptoKey; publicKey: webcrypto.CryptoKey }> => ({
  privateKey: await webcrypto.subtle.importKey(
    'pkcs8',
    key.privateKey.export({ type: 'pkcs8', format: 'der' }),
    algorithm,
    false,
    ['sign'],
  ),
  publicKey: await webcrypto.subtle.importKey(
    'spki',
    key.publicKey.export({ type: 'spki', format: 'der' }),
    algorithm,
    true,
    ['verify'],
  ),
})

const alternatives = (names: readonly string[]): SubjectAlternativeNameExtension =>
  new SubjectAlternativeNameExtension(
    names.map((name) => ({ type: isIP(name) === 0 ? ('dns' as const) : ('ip' as const), value: name })),
  )

const authorityName = (key: ControlPlaneKey): string => `CN=Mesh control plane ${shortId(key.id)}`

/** The certificate of the authority as PEM. @param names what it may speak for besides private names */
const makeAuthority = async (key: ControlPlaneKey, names: readonly string[]): Promise<string> => {
  const { privateKey, publicKey } = await importKeys(key)
  const certificate = await X509CertificateGenerator.createSelfSigned({
    ...authorityDates,
    name: authorityName(key),
    keys: { privateKey, publicKey },
    signingAlgorithm: algorithm,
    serialNumber: '01',
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign, true),
      await SubjectKeyIdentifierExtension.create(publicKey, false),
      new Extension(nameConstraintsId, true, nameConstraints(names)),
      ...(names.length === 0 ? [] : [alternatives(names)]), // only for us, to read them again
    ],
  })
  return `${certificate.toString('pem')}\n`
}

/** Names that a certificate bears, addresses in canonical form. */
const namesIn = ({ subjectAltName = '' }: X509Certificate): string[] =>
  subjectAltName
    .split(', ')
    .flatMap((entry) => /^(?:DNS|IP Address):(.+)$/.exec(entry)?.[1] ?? [])
    .map(canonical)

const canonical = (name: string): string =>
  isIP(name) === 6 ? new URL(`http://[${name}]`).hostname.slice(1, -1) : name.toLowerCase()

/** The certificate in a file as PEM, where it is of this key. */
const ownCertificate = (pem: string | undefined, key: ControlPlaneKey): X509Certificate | undefined => {
  try {
    const certificate = pem === undefined ? undefined : new X509Certificate(pem)
    return certificate?.ca === true && controlPlaneIdIn(certificate) === key.id ? certificate : undefined
  } catch {
    return undefined
  }
}

/** What apps and browsers are told to trust. */
export interface Authority {
  readonly pem: string
  /** What it may speak for besides private names. */
  readonly names: readonly string[]
}

/**
 * The authority in a file, made where there is none of this key: nothing is lost by a new one but the trust of those
 * that trusted the old one.
 * @throws MeshError `stateUnreadable` | `stateUnwritable`
 */
export const ownAuthority = async (
  file: string,
  key: ControlPlaneKey,
  names: readonly string[],
): Promise<Authority> => {
  const text = readState(file)?.toString('utf8')
  const known = ownCertificate(text, key)
  if (text !== undefined && known) return { pem: text, names: namesIn(known) }
  const others = [...new Set(names.map(canonical))].filter((name) => !isPrivateName(name))
  const pem = await makeAuthority(key, others)
  writeState(file, pem)
  return { pem, names: others }
}

/** What a TLS server shows: the leaf and the authority, and the key of both, as PEM. */
export interface TlsIdentity {
  readonly cert: string
  readonly key: string
}

export interface Leaf extends TlsIdentity {
  readonly names: readonly string[]
  /** Milliseconds since 1970. */
  readonly notAfter: number
}

/** The names among these that an authority may speak for, sorted: what a certificate of now bears. */
export const leafNames = (names: readonly string[], { names: allowed }: Authority): string[] =>
  [...new Set(names.map(canonical))].filter((name) => isPrivateName(name) || allowed.includes(name)).toSorted()

/** The certificate that TLS shows to browsers, apps and devices. */
export const makeLeaf = async (
  key: ControlPlaneKey,
  authority: Authority,
  names: readonly string[],
  now: number,
): Promise<Leaf> => {
  const { privateKey, publicKey } = await importKeys(key)
  const own = leafNames(names, authority)
  const notAfter = now + leafMs
  const certificate = await X509CertificateGenerator.create({
    notBefore: new Date(now - dayMs),
    notAfter: new Date(notAfter),
    subject: `CN=${own.find((name) => isIP(name) === 0) ?? 'localhost'}`,
    issuer: authorityName(key),
    publicKey,
    signingKey: privateKey,
    signingAlgorithm: algorithm,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
      await AuthorityKeyIdentifierExtension.create(publicKey, false),
      alternatives(own),
    ],
  })
  return {
    cert: `${certificate.toString('pem')}\n${authority.pem}`,
    key: controlPlaneKeyText(key),
    names: own,
    notAfter,
  }
}

/** That a leaf bears the names of now and has long enough to live. */
export const isCurrent = ({ names, notAfter }: Leaf, wanted: readonly string[], now: number): boolean =>
  notAfter - now > renewMs && notAfter - now <= leafMs + dayMs && names.join() === wanted.join()
