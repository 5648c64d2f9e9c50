/**
 * Hashes of the ledger. The hash of an entry covers the one before it, so that no line can be changed, taken out or put
 * in without changing all that follow: SHA-256 over the domain tag `meshnet-ledger-v1`, the 32 bytes of the hash before
 * (zeros before the first), and canonical CBOR (RFC 8949, 4.2) of the fixed array `[version, kind, pool id, sequence,
 * job id, device key, epoch, model weights, weights, tokens, compute microseconds, amount, time, signature or null]`.
 */
import { createHash } from 'node:crypto'
import { kindNumber } from '../identity/statement.ts'
import type { LedgerEntry } from '../schema/credits.ts'
import { encodeCbor, encodeInteger } from '../wire/envelope.ts'

const domain = Buffer.from('meshnet-ledger-v1\0')
const version = 1

/** What comes before the first entry. */
export const noHash = '0'.repeat(64)

/** @param previous hash of the entry before, `noHash` for the first */
export const hashOf = (poolId: string, previous: string, entry: Omit<LedgerEntry, 'hash'>): string => {
  const { sequence, epoch, modelWeights, weights, tokens, computeUs, amount, settledAt, signature } = entry
  const body = encodeCbor([
    version,
    kindNumber[entry.kind],
    Buffer.from(poolId, 'hex'),
    encodeInteger(sequence),
    entry.jobId,
    Buffer.from(entry.deviceId, 'hex'),
    ...[epoch, modelWeights, weights, tokens, computeUs, amount, settledAt].map(encodeInteger),
    signature === null ? null : Buffer.from(signature, 'hex'),
  ])
  return createHash('sha256').update(domain).update(Buffer.from(previous, 'hex')).update(body).digest('hex')
}
