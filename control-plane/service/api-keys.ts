/** API keys of apps: made and ended by members, checked with every request that shows one, held to their quota. */
import { MeshError } from '../../shared/errors.ts'
import { shortId } from '../../shared/ids.ts'
import { apiKeyHash, apiKeyIdIn, isSameHash, malformedKey } from '../../shared/identity/api-key.ts'
import type { Logger } from '../../shared/log.ts'
import type { ApiKey, ApiKeyCreation } from '../../shared/schema/api-key.ts'
import type { JobSubmission } from '../../shared/schema/job.ts'
import { limits } from '../../shared/limits.ts'
import { checkQuota, dayStart, expectedTokens } from '../domain/key-quota.ts'
import { WrongKeys } from '../domain/wrong-keys.ts'
import type { DeviceStore } from '../store/device-store.ts'
import { isLive, type KeyStore, type StoredKey } from '../store/key-store.ts'
import type { PoolStore } from '../store/pool-store.ts'
import type { Background } from './background.ts'
import type { Events } from './events.ts'
import type { Memberships } from './memberships.ts'

export interface ApiKeysOptions {
  readonly keyStore: KeyStore
  readonly poolStore: PoolStore
  readonly deviceStore: DeviceStore
  readonly memberships: Memberships
  readonly background: Background
  readonly now: () => number
  readonly events: Events
  readonly logger: Logger
}

interface Member {
  readonly deviceId: string
  readonly isAdmin: boolean
}

/** The last use is written down this often at most: a request should not have to wait for the disk. */
const useEveryMs = 60_000
/** Keys that are known to be right, so that a broken app behind the same address cannot lock them out. */
const mostKnown = 10_000
/** Stands in for a key that does not exist, so that it costs the same comparison. */
const noHash = '0'.repeat(64)

export class ApiKeys {
  readonly #options: ApiKeysOptions
  readonly #wrong = new WrongKeys()
  /** Hashes of keys that were right since we started. */
  readonly #known = new Set<string>()

  constructor(options: ApiKeysOptions) {
    this.#options = options
  }

  /** Repeating it is harmless. @throws MeshError `keyLimit` | `requestInvalid` (the id is taken) */
  create(poolId: string, deviceId: string, { keyId, hash, name, lifetimeMs, tokensPerDay }: ApiKeyCreation): ApiKey {
    const { keyStore, now, logger } = this.#options
    const existing = keyStore.find(keyId)
    if (existing && (existing.hash !== hash || existing.poolId !== poolId || existing.deviceId !== deviceId))
      throw new MeshError('requestInvalid', { problem: `key id ${keyId} is taken` })
    if (existing) return this.#viewOf(existing)
    const key: StoredKey = {
      keyId,
      poolId,
      deviceId,
      name,
      hash,
      tokensPerDay: tokensPerDay ?? null,
      createdAt: now(),
      expiresAt: now() + lifetimeMs,
      revokedAt: null,
      lastUsedAt: null,
    }
    if (!keyStore.add(key, limits.apiKeys)) throw new MeshError('keyLimit', { limit: limits.apiKeys })
    logger.info({ pool: poolId, device: deviceId, key: keyId }, 'API key made')
    return this.#viewOf(key)
  }

  /** Those of the device; all of the pool for an admin. */
  list(poolId: string, { deviceId, isAdmin }: Member): ApiKey[] {
    return this.#options.keyStore.list(poolId, isAdmin ? undefined : deviceId).map((key) => this.#viewOf(key))
  }

  /** Ends a key; repeating it is harmless. @throws MeshError `notFound`, also for a key that the caller may not see */
  revoke(poolId: string, keyId: string, by: Member): ApiKey {
    const key = this.#options.keyStore.find(keyId)
    if (key?.poolId !== poolId || (key.deviceId !== by.deviceId && !by.isAdmin))
      throw new MeshError('notFound', { what: 'API key', id: keyId })
    this.#revoke(key)
    return this.view(keyId)
  }

  /** A device was removed from a pool: its keys end with it, also if it comes back. */
  revokeOf(poolId: string, deviceId: string): void {
    for (const key of this.#options.keyStore.list(poolId, deviceId)) this.#revoke(key)
  }

  /** @throws MeshError `notFound` */
  view(keyId: string): ApiKey {
    const key = this.#options.keyStore.find(keyId)
    if (!key) throw new MeshError('notFound', { what: 'API key', id: keyId })
    return this.#viewOf(key)
  }

  /**
   * The key that a request shows. Whether its id exists is not told to who does not have the whole key.
   * @param address where it came from
   * @throws MeshError `keyInvalid` | `keyAttempts` | `keyRevoked` | `keyExpired` | `keyMakerGone`
   */
  authenticate(text: string, address: string): StoredKey {
    const { keyStore, background, now } = this.#options
    const hash = apiKeyHash(text)
    const pauseMs = this.#known.has(hash) ? 0 : this.#wrong.pauseMs(address, now())
    if (pauseMs > 0) throw new MeshError('keyAttempts', { retryAfterSeconds: Math.ceil(pauseMs / 1000) })
    const keyId = apiKeyIdIn(text)
    const key = keyId === undefined ? undefined : keyStore.find(keyId)
    if (!isSameHash(hash, key?.hash ?? noHash) || !key) {
      this.#wrong.wrong(address, now())
      throw new MeshError('keyInvalid', { problem: keyId === undefined ? malformedKey : 'there is no such key' })
    }
    this.#wrong.right(address)
    if (this.#known.size < mostKnown) this.#known.add(hash)
    if (key.revokedAt !== null) throw new MeshError('keyRevoked', { keyId: key.keyId })
    if (!isLive(key, now())) throw new MeshError('keyExpired', { keyId: key.keyId, expiresAt: key.expiresAt })
    if (!this.#isMakerIn(key)) throw new MeshError('keyMakerGone', { keyId: key.keyId })
    if (now() - (key.lastUsedAt ?? 0) >= useEveryMs)
      background.run('storing the use of a key', () => keyStore.use(key.keyId, now()))
    return key
  }

  /**
   * What a job of that key counts while it is open.
   * @param context tokens that the model can hold
   * @throws MeshError `keyQuotaExceeded` | `keyQuotaTooSmall`
   */
  reserve(keyId: string, submission: JobSubmission, context: number): number {
    const { keyStore, now } = this.#options
    const wanted = expectedTokens(submission, context)
    const { tokensPerDay } = keyStore.find(keyId) ?? { tokensPerDay: null }
    if (tokensPerDay !== null) checkQuota({ keyId, tokensPerDay }, this.#useOf(keyId), wanted, now())
    return wanted
  }

  #useOf(keyId: string): { usedToday: number; reserved: number } {
    return this.#options.keyStore.tokensOf(keyId, dayStart(this.#options.now()))
  }

  #revoke(key: StoredKey): void {
    const { keyStore, events, now, logger } = this.#options
    if (!keyStore.revoke(key.keyId, now())) return
    logger.info({ pool: key.poolId, key: key.keyId }, 'API key revoked')
    events.emit('keyRevoked', key.keyId)
  }

  /** A certificate that is over but may be renewed does not end the key: the maker's machine may be off for a while. */
  #isMakerIn({ poolId, deviceId }: StoredKey): boolean {
    const { poolStore, memberships } = this.#options
    const membership = poolStore.membership(poolId, deviceId)
    if (!membership) return false
    try {
      memberships.renewable(membership.certificate, deviceId)
      return true
    } catch (error) {
      if (error instanceof MeshError) return false
      throw error
    }
  }

  #viewOf({
    keyId,
    poolId,
    deviceId,
    name,
    createdAt,
    expiresAt,
    revokedAt,
    lastUsedAt,
    tokensPerDay,
  }: StoredKey): ApiKey {
    const deviceName = this.#options.deviceStore.find(deviceId)?.name ?? shortId(deviceId)
    return {
      keyId,
      poolId,
      deviceId,
      deviceName,
      name,
      createdAt,
      expiresAt,
      ...this.#useOf(keyId),
      ...(revokedAt === null ? {} : { revokedAt }),
      ...(lastUsedAt === null ? {} : { lastUsedAt }),
      ...(tokensPerDay === null ? {} : { tokensPerDay }),
    }
  }
}
