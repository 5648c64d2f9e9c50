/**
 * How a device signs an HTTP request to the control plane (and the opening request of its WebSocket).
 * Signed text: domain tag, method, path with query, SHA-256 of the body, time in milliseconds, nonce; one per line.
 * The hash travels as a header, so that who sends is known before a byte of the body is read; the body is then compared
 * with the hash.
 */
import { createHash, randomBytes } from 'node:crypto'
import { headers } from '../api/routes.ts'
import { MeshError } from '../errors.ts'
import { type DeviceId, parseDeviceId } from '../ids.ts'
import { limits } from '../wire/limits.ts'
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
  readonly hash: string
  readonly time: string
  readonly nonce: string
}

const signedText = ({ method, path }: RequestLine, { hash, time, nonce }: SignedValues): Uint8Array =>
  Buffer.from(['meshnet-request-v1', method.toUpperCase(), path, hash, time, nonce].join('\n'))

/** Headers that prove who sends the request. */
export const signRequest = (key: KeyPair, parts: RequestParts, now: number): Record<string, string> => {
  const hash = bodyHash(parts.body)
  const time = String(now)
  const nonce = randomBytes(16).toString('hex')
  return {
    [headers.device]: toHex(key.publicKey),
    [headers.time]: time,
    [headers.nonce]: nonce,
    [headers.body]: hash,
    [headers.signature]: toHex(signBytes(key, signedText(parts, { hash, time, nonce }))),
  }
}

/** Remembers the nonces of requests for as long as these are accepted. Only requests with a valid signature get here. */
export interface NonceGuard {
  /** @throws MeshError `replayed` */
  check(device: string, nonce: string, now: number): void
}

/** Header values by lower-case name. */
type SentHeaders = Readonly<Record<string, string | string[] | undefined>>

/**
 * Who signed the request, by its headers alone: `checkBody` compares what comes behind them.
 * @throws MeshError `signatureInvalid` | `clockSkew` | `replayed`
 */
export const verifyRequest = (
  sent: SentHeaders,
  line: RequestLine,
  guard: NonceGuard,
  now: number,
): DeviceId => {
  const read = (name: string, pattern: RegExp): string => {
    const value = sent[name]
    if (typeof value === 'string' && pattern.test(value)) return value
    throw new MeshError('signatureInvalid', { problem: `header ${name} is ${value === undefined ? 'missing' : 'malformed'}` })
  }
  const device = read(headers.device, /^[0-9a-f]{64}$/)
  const time = read(headers.time, /^\d{1,15}$/)
  const nonce = read(headers.nonce, /^[0-9a-f]{32}$/)
  const signature = read(headers.signature, /^[0-9a-f]{128}$/)
  if (sent[headers.body] === undefined) {
    throw new MeshError('signatureInvalid', { problem: `header ${headers.body} is missing: the sender runs an older version of mesh` })
  }
  const text = signedText(line, { hash: read(headers.body, /^[0-9a-f]{64}$/), time, nonce })
  if (!verifyBytes(Buffer.from(device, 'hex'), text, Buffer.from(signature, 'hex'))) {
    throw new MeshError('signatureInvalid', { problem: 'the signature does not match the request' })
  }
  const skewMs = Number(time) - now
  if (Math.abs(skewMs) > limits.clockSkewMs) throw new MeshError('clockSkew', { seconds: Math.round(Math.abs(skewMs) / 1000), side: skewMs > 0 ? 'ahead of' : 'behind' })
  guard.check(device, nonce, now)
  return parseDeviceId(device)
}

/**
 * That a body is the one whose hash was signed.
 * @param hash of the body that came; absent: none came, or none was read
 * @throws MeshError `signatureInvalid`
 */
export const checkBody = (sent: SentHeaders, hash: string = emptyHash): void => {
  if (sent[headers.body] !== hash) throw new MeshError('signatureInvalid', { problem: 'the body is not the one that was signed' })
}
