/**
 * API keys: what an app shows instead of a signature. `mesh_sk_<key id>_<secret>`, 16 and 64 hex digits.
 *
 * Whoever makes a key keeps it; the control plane gets and stores its SHA-256. A slow hash, as passwords need it, would
 * add nothing: the secret is 256 random bits, so there is no list of likely ones to try, however fast a try is.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'

const form = /^mesh_sk_([0-9a-f]{16})_[0-9a-f]{64}$/

export interface NewApiKey {
  /** The whole key: shown once, stored nowhere. */
  readonly text: string
  readonly keyId: string
  readonly hash: string
}

export const newApiKey = (): NewApiKey => {
  const keyId = randomBytes(8).toString('hex')
  const text = `mesh_sk_${keyId}_${randomBytes(32).toString('hex')}`
  return { text, keyId, hash: apiKeyHash(text) }
}

/** 64 hex digits, over the whole text of the key. */
export const apiKeyHash = (text: string): string => createHash('sha256').update(text).digest('hex')

/** What is wrong with a text that is no key. */
export const malformedKey = 'it does not look like mesh_sk_ with 16 and 64 hex digits'

/** The id that a key names; `undefined` for a text that is no key. */
export const apiKeyIdIn = (text: string): string | undefined => form.exec(text)?.[1]

/** Compares two hashes of `apiKeyHash` without telling by its duration how much was right. */
export const isSameHash = (given: string, wanted: string): boolean =>
  timingSafeEqual(Buffer.from(given, 'hex'), Buffer.from(wanted, 'hex'))
