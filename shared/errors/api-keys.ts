/** API keys of apps. */
import type { ErrorRecord } from './record.ts'

export const apiKeyErrors = {
  keyInvalid: {
    status: 401,
    exit: 7,
    text: 'the API key is not valid: {problem}',
    hint: 'copy the whole key again, or make one on a device of the pool: mesh api-key-create --name app',
  },
  keyExpired: {
    status: 401,
    exit: 7,
    text: 'API key {keyId} expired at {expiresAt}',
    hint: 'make a new one on a device of the pool: mesh api-key-create --name app',
  },
  keyRevoked: {
    status: 401,
    exit: 7,
    text: 'API key {keyId} was revoked',
    hint: 'make a new one on a device of the pool: mesh api-key-create --name app',
  },
  keyMakerGone: {
    status: 403,
    exit: 7,
    text: 'the device that made API key {keyId} is no longer a member of the pool',
    hint: 'make a new one on a device that is: mesh api-key-create --name app',
  },
  keyOtherPool: {
    status: 403,
    exit: 7,
    text: 'API key {keyId} belongs to another pool',
    hint: 'GET /api/api-key tells which pool; leave out --pool-id',
  },
  keyNotAccepted: {
    status: 403,
    exit: 7,
    text: 'an API key does not open {route}',
    hint: 'keys open jobs and the list of rings, see /docs; for all else use a device of the pool: mesh --help',
  },
  keyQuotaExceeded: {
    status: 429,
    exit: 7,
    text: 'API key {keyId} may use {quota} tokens a day: {left} are left, the job may need {wanted}',
    hint:
      'try again in {retryAfterSeconds}, with fewer --max-tokens, or make a key with a higher quota: ' +
      'mesh api-key-create --name app --quota {wanted}',
  },
  keyQuotaTooSmall: {
    status: 422,
    exit: 7,
    text: 'the job may need {wanted} tokens, API key {keyId} may use {quota} a day',
    hint:
      'give fewer --max-tokens or a shorter prompt, or make a key with a higher quota: ' +
      'mesh api-key-create --name app --quota {wanted}',
  },
  keyAttempts: {
    status: 429,
    exit: 7,
    text: 'too many wrong API keys came from this address',
    hint: 'try again in {retryAfterSeconds}, with the right key: mesh api-key-list shows the ids of yours',
  },
  keyLimit: {
    status: 409,
    exit: 7,
    text: 'this device has {limit} API keys in the pool, which is the most',
    hint: 'mesh api-key-list, then mesh api-key-revoke ID for those that nobody uses',
  },
} as const satisfies Record<string, ErrorRecord>
