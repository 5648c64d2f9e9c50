/** Nonces of signed requests: a request that was seen is refused, also by the next process on the same file. */
import { and, eq, lt } from 'drizzle-orm'
import { MeshError } from '../../shared/errors.ts'
import type { NonceGuard } from '../../shared/identity/request-signature.ts'
import { systemFailureOf } from '../../shared/system-failure.ts'
import { limits } from '../../shared/limits.ts'
import type { Store } from './database.ts'
import { requestNonces } from './membership-tables.ts'

/** A request is accepted for this long before and after its time, so its nonce must be known for twice as long. */
const keepMs = 2 * limits.clockSkewMs
const pruneEveryMs = 30_000
/** Nonces kept in memory at most, about 10 MB: far more than devices send while somebody makes room on a disk. */
const unwrittenLimit = 50_000

interface Nonce {
  readonly deviceId: string
  readonly nonce: string
  readonly expiresAt: number
}

export class NonceStore implements NonceGuard {
  readonly #store: Store
  readonly #onFailure: (error: unknown) => void
  /**
   * Those that could not be written: a full disk must not keep anybody from reading, nor an agent from coming back.
   * Only a process that is ended before there is room again forgets them.
   */
  readonly #unwritten = new Map<string, Nonce>()
  #pruneAt = 0

  /** @param onFailure told of a database that cannot be written; the request goes on */
  constructor(store: Store, onFailure: (error: unknown) => void = () => {}) {
    this.#store = store
    this.#onFailure = onFailure
  }

  /** @throws MeshError `replayed`; what SQLite says when neither disk nor memory has room for it */
  check(deviceId: string, nonce: string, now: number): void {
    if (now >= this.#pruneAt) this.#prune(now)
    const entry = { deviceId, nonce, expiresAt: now + keepMs }
    const key = `${deviceId}/${nonce}`
    if (this.#unwritten.has(key)) throw new MeshError('replayed')
    try {
      if (this.#insert(entry) === 0) throw new MeshError('replayed')
    } catch (error) {
      if (systemFailureOf(error) === undefined) throw error
      this.#onFailure(error)
      if (this.#isWritten(entry)) throw new MeshError('replayed')
      if (this.#unwritten.size >= unwrittenLimit) throw error
      this.#unwritten.set(key, entry)
    }
  }

  /** Writes what could not be written before. @throws what SQLite says */
  flush(): void {
    this.#store.transaction(() => {
      for (const entry of this.#unwritten.values()) this.#insert(entry)
    })
    this.#unwritten.clear()
  }

  #insert(entry: Nonce): number {
    return this.#store.insert(requestNonces).values(entry).onConflictDoNothing().run().changes
  }

  #isWritten({ deviceId, nonce }: Nonce): boolean {
    const wanted = and(eq(requestNonces.deviceId, deviceId), eq(requestNonces.nonce, nonce))
    return this.#store.select().from(requestNonces).where(wanted).get() !== undefined
  }

  #prune(now: number): void {
    this.#pruneAt = now + pruneEveryMs
    for (const [key, { expiresAt }] of this.#unwritten) if (expiresAt < now) this.#unwritten.delete(key)
    try {
      this.#store.delete(requestNonces).where(lt(requestNonces.expiresAt, now)).run()
    } catch (error) {
      if (systemFailureOf(error) === undefined) throw error
      this.#onFailure(error)
    }
  }
}
