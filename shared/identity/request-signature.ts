/**
 * How a device signs an HTTP request to the control plane (and the opening request of its WebSocket).
 * Signed text: domain tag, method, path with query, SHA-256 of the body, time in milliseconds, nonce; one per line.
 */
import { createHash, randomBytes } from 'node:crypto'
import { headers } from '../api/routes.ts'
import { MeshError } from '../errors.ts'
import { type DeviceId, parseDeviceId } from '../ids.ts'
import { limits } from '../wire/limits.ts'
import { type KeyPair, signBytes, toHex, verifyBytes } from './keys.ts'

export interface RequestParts {
  readonly method: string
  /** Path and query as sent, for example `/api/pools?limit=5`. */
  readonly path: string
  readonly body: string | Uint8Array
}

const signedText = (parts: RequestParts, time: string, nonce: string): Uint8Array =>
  Buffer.from(['meshnet-request-v1', parts.method.toUpperCase(), parts.path, createHash('sha256').update(parts.body).digest('hex'), time, nonce].join('\n'))

/** Headers that prove who sends the request. */
export const signRequest = (key: KeyPair, parts: RequestParts, now: number): Record<string, string> => {
  const time = String(now)
  const nonce = randomBytes(16).toString('hex')
  return {
    [headers.device]: toHex(key.publicKey),
    [headers.time]: time,
    [headers.nonce]: nonce,
    [headers.signature]: toHex(signBytes(key, signedText(parts, time, nonce))),
  }
}

/** Remembers the nonces of requests for as long as these are accepted. Only requests with a valid signature get here. */
export interface NonceGuard {
  /** @throws MeshError `replayed` */
  check(device: string, nonce: string, now: number): void
}

/**
 * Who signed the request.
 * @param sent header values by lower-case name
 * @throws MeshError `signatureInvalid` | `clockSkew` | `replayed`
 */
export const verifyRequest = (
  sent: Readonly<Record<string, string | string[] | undefined>>,
  parts: RequestParts,
  guard: NonceGuard,
  now: number,
): DeviceId => {
  const read = (name: string, pattern: RegExp): string => {
    const value = sent[name]
    if (typeof value !== 'string' || !pattern.test(value)) throw new MeshError('signatureInvalid', { problem: `header ${name} is ${value === undefined ? 'missing' : 'malformed'}` })
    return value
  }
  const device = read(headers.device, /^[0-9a-f]{64}$/)
  const time = read(headers.time, /^\d{1,15}$/)
  const nonce = read(headers.nonce, /^[0-9a-f]{32}$/)
  const signature = read(headers.signature, /^[0-9a-f]{128}$/)
  if (!verifyBytes(Buffer.from(device, 'hex'), signedText(parts, time, nonce), Buffer.from(signature, 'hex'))) {
    throw new MeshError('signatureInvalid', { problem: 'the signature does not match the request' })
  }
  const skewMs = Number(time) - now
  if (Math.abs(skewMs) > limits.clockSkewMs) throw new MeshError('clockSkew', { seconds: Math.round(Math.abs(skewMs) / 1000), side: skewMs > 0 ? 'ahead of' : 'behind' })
  guard.check(device, nonce, now)
  return parseDeviceId(device)
}
