/**
 * How a device signs an HTTP request to the control plane (and the opening request of its WebSocket).
 * Signed text: domain tag, key of the control plane that it is for, method, path with query, SHA-256 of the body, time
 * in milliseconds, nonce; one per line. A control plane that passes a request on to another one has no use of it there.
 * The hash travels as a header, so that who sends is known before a byte of the body is read; the body is then compared
 * with the hash.
 */
import { createHash, randomBytes } from 'node:crypto'
import { headers } from '../headers.ts'
import { MeshError } from '../errors.ts'
import { type ControlPlaneId, type DeviceId, parseControlPlaneId, parseDeviceId, shortId } from '../ids.ts'
import { limits } from '../limits.ts'
import { otherVersion, versionIn } from '../wire/other-version.ts'
import { requests } from '../wire/protocols.ts'
import { type KeyPair, signBytes, toHex, verifyBytes } from './keys.ts'

export interface RequestLine {
  readonly method: string
  /** Path and query as sent, for example `/api/pools?limit=5`. */
  readonly path: string
}

export interface RequestParts extends RequestLine {
  readonly body: string | Uint8Array
}

/** The hash of a body that is signed: SHA-256 in hex. */
export const bodyHash = (body: string | Uint8Array): string => createHash('sha256').update(body).digest('hex')

const emptyHash = bodyHash('')

interface SignedValues {
  /** Key of the control plane. */
  readonly recipient: ControlPlaneId
  readonly hash: string
  readonly time: string
  readonly nonce: string
}

const signedText = ({ method, path }: RequestLine, { recipient, hash, time, nonce }: SignedValues): Uint8Array =>
  Buffer.from(['meshnet-request-v2', recipient, method.toUpperCase(), path, hash, time, nonce].join('\n'))

/** Headers that prove who sends the request, to that control plane and no other. */
export const signRequest = (
  key: KeyPair,
  parts: RequestParts & { readonly recipient: ControlPlaneId },
  now: number,
): Record<string, string> => {
  const { recipient } = parts
  const hash = bodyHash(parts.body)
  const time = String(now)
  const nonce = randomBytes(16).toString('hex')
  return {
    [headers.device]: toHex(key.publicKey),
    [headers.recipient]: recipient,
    [headers.time]: time,
    [headers.nonce]: nonce,
    [headers.body]: hash,
    [headers.protocol]: requests.version,
    [headers.signature]: toHex(signBytes(key, signedText(parts, { recipient, hash, time, nonce }))),
  }
}

/**
 * Remembers the nonces of requests for as long as these are accepted. Only requests with a valid signature get here.
 */
export interface NonceGuard {
  /** @throws MeshError `replayed` */
  check(device: string, nonce: string, now: number): void
}

/** Header values by lower-case name. */
type SentHeaders = Readonly<Record<string, string | string[] | undefined>>

/**
 * Who signed the request, by its headers alone: `checkBody` compares what comes behind them.
 * @param own key of this control plane
 * @throws MeshError `protocolVersion` | `signatureInvalid` | `wrongControlPlane` | `clockSkew` | `replayed`
 */
export const verifyRequest = (
  sent: SentHeaders,
  line: RequestLine,
  { own, guard, now }: { readonly own: ControlPlaneId; readonly guard: NonceGuard; readonly now: number },
): DeviceId => {
  const read = (name: string, pattern: RegExp): string => {
    const value = sent[name]
    if (typeof value === 'string' && pattern.test(value)) return value
    throw new MeshError('signatureInvalid', {
      problem: `header ${name} is ${value === undefined ? 'missing' : 'malformed'}`,
    })
  }
  const device = read(headers.device, /^[0-9a-f]{64}$/)
  // before the signature: what another version signs is not known here
  const spoken = sent[headers.protocol] === undefined ? requests.before.at(-1) : versionIn(sent[headers.protocol])
  if (spoken !== requests.version) {
    throw otherVersion(
      requests,
      { name: 'the control plane', version: requests.version },
      { name: `device ${shortId(device)}`, version: spoken ?? '(none)' },
    )
  }
  const time = read(headers.time, /^\d{1,15}$/)
  const nonce = read(headers.nonce, /^[0-9a-f]{32}$/)
  const signature = read(headers.signature, /^[0-9a-f]{128}$/)
  const recipient = parseControlPlaneId(read(headers.recipient, /^[0-9a-f]{64}$/))
  if (recipient !== own) throw new MeshError('wrongControlPlane', { wanted: shortId(recipient), own: shortId(own) })
  const text = signedText(line, { recipient, hash: read(headers.body, /^[0-9a-f]{64}$/), time, nonce })
  if (!verifyBytes(Buffer.from(device, 'hex'), text, Buffer.from(signature, 'hex'))) {
    throw new MeshError('signatureInvalid', { problem: 'the signature does not match the request' })
  }
  const skewMs = Number(time) - now
  if (Math.abs(skewMs) > limits.clockSkewMs)
    throw new MeshError('clockSkew', {
      seconds: Math.round(Math.abs(skewMs) / 1000),
      side: skewMs > 0 ? 'ahead of' : 'behind',
    })
  guard.check(device, nonce, now)
  return parseDeviceId(device)
}

/**
 * That a body is the one whose hash was signed.
 * @param hash of the body that came; absent: none came, or none was read
 * @throws MeshError `signatureInvalid`
 */
export const checkBody = (sent: SentHeaders, hash: string = emptyHash): void => {
  if (sent[headers.body] !== hash)
    throw new MeshError('signatureInvalid', { problem: 'the body is not the one that was signed' })
}
