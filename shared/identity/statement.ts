/**
 * What a device says of a job, signed with its own key: that it did its part (`work`), or got its answer (`use`).
 *
 * Signed bytes: the domain tag `meshnet-statement-v1`, then canonical CBOR (RFC 8949, 4.2) of the fixed array
 * `[version, kind, pool id, job id, device key, epoch, weights, tokens, compute microseconds]`.
 */
import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import type { SignedStatement } from '../schema/credits.ts'
import { encodeCbor, encodeInteger } from '../wire/envelope.ts'
import { type KeyPair, signBytes, toHex } from './keys.ts'

/** The pool, and the device that the statement speaks of and that signed it. */
export interface StatementScope {
  readonly poolId: string
  readonly deviceId: string
}

export type Statement = Omit<SignedStatement, 'signature'>

const domain = Buffer.from('meshnet-statement-v1\0')
const version = 1

/** How the kinds are numbered, in statements and in the ledger. */
export const kindNumber = { work: 0, use: 1 } as const

const signedBytes = (
  { poolId, deviceId }: StatementScope,
  { kind, jobId, epoch, weights, tokens, computeUs }: Statement,
): Uint8Array =>
  Buffer.concat([
    domain,
    encodeCbor([
      version,
      kindNumber[kind],
      Buffer.from(poolId, 'hex'),
      jobId,
      Buffer.from(deviceId, 'hex'),
      ...[epoch, weights, tokens, computeUs].map(encodeInteger),
    ]),
  ])

export const signStatement = (key: KeyPair, poolId: string, statement: Statement): SignedStatement => ({
  ...statement,
  signature: toHex(signBytes(key, signedBytes({ poolId, deviceId: toHex(key.publicKey) }, statement))),
})

/** Keys of the devices seen last: making one takes longer than a check. */
const keys = new Map<string, KeyObject>()
const maxKeys = 1000

const keyOf = (deviceId: string): KeyObject => {
  const known = keys.get(deviceId)
  if (known) return known
  const key = createPublicKey({
    format: 'jwk',
    key: { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(deviceId, 'hex').toString('base64url') },
  })
  if (keys.size >= maxKeys) keys.clear()
  keys.set(deviceId, key)
  return key
}

/**
 * The device of `scope` signed this. Checked by OpenSSL, not by @noble: a ledger has hundreds of thousands of
 * signatures, and this is twenty times faster. False for anything malformed; never throws.
 */
export const holdsStatement = (scope: StatementScope, { signature, ...statement }: SignedStatement): boolean => {
  try {
    return verify(null, signedBytes(scope, statement), keyOf(scope.deviceId), Buffer.from(signature, 'hex'))
  } catch {
    return false
  }
}
