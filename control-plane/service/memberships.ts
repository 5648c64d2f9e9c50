/** Certificates that devices show: checked, remembered, and told to who needs to know. */
import { MeshError } from '../../shared/errors.ts'
import {
  type Certificate,
  checkOwner,
  poolIdIn,
  verifyCertificate,
  verifyForRenewal,
} from '../../shared/identity/pool-certificate.ts'
import { readRevocations, removalsOf, replaces, type RevocationList } from '../../shared/identity/revocation-list.ts'
import { putLast } from '../../shared/put-last.ts'
import type { PoolStore, StoredPool } from '../store/pool-store.ts'
import type { RevocationStore } from '../store/revocation-store.ts'
import type { Background } from './background.ts'
import type { Presence } from './presence.ts'

export interface MembershipsOptions {
  readonly pools: PoolStore
  readonly revocations: RevocationStore
  readonly presence: Presence
  readonly background: Background
  readonly now: () => number
  /** @throws MeshError `poolMoved` */
  checkServed(pool: StoredPool): void
}

const keyOf = ({ rootPublicKey }: StoredPool): Uint8Array => Buffer.from(rootPublicKey, 'hex')

/** Certificates that are remembered: 4 kB each at most. */
const mostValid = 2000

export class Memberships {
  readonly #options: MembershipsOptions
  /** Lists that were checked, by pool. */
  readonly #lists = new Map<string, RevocationList>()
  /** Certificates that were found valid, by pool and text, with the list that was looked at. */
  readonly #valid = new Map<
    string,
    { readonly certificate: Certificate; readonly list: RevocationList | undefined; readonly at: number }
  >()

  constructor(options: MembershipsOptions) {
    this.#options = options
  }

  /**
   * A device shows its certificate of a pool. One that we have not seen is stored: after the loss of our database the
   * members of a pool are known again as they come.
   * @throws MeshError `notFound` (no such pool here) | `poolMoved` | `certificateInvalid` | `certificateExpired` | `memberRemoved`
   */
  show(text: string, deviceId: string, poolId: string | undefined = poolIdIn(text)): Certificate {
    const { pools, presence, background } = this.#options
    if (poolId === undefined) throw new MeshError('certificateInvalid', { problem: 'it names no pool' })
    const pool = this.#need(poolId)
    const certificate = this.verify(pool, text)
    checkOwner(certificate, deviceId)
    // after the certificate: where a pool went is for its members
    this.#options.checkServed(pool)
    const known = pools.membership(pool.poolId, deviceId)
    // a full disk keeps no member out: it shows the certificate again with its next request
    if (!known || known.notAfter < certificate.notAfter)
      background.run('storing a certificate', () => pools.publish(text, certificate))
    presence.admit(certificate)
    return certificate
  }

  /**
   * What was found valid is not computed again while time goes on and nobody is removed: members show the same
   * certificate with every request.
   * @throws MeshError `certificateInvalid` | `certificateExpired` | `memberRemoved`
   */
  verify(pool: StoredPool, text: string): Certificate {
    const now = this.#options.now()
    const list = this.revocations(pool)
    const key = `${pool.poolId} ${text}`
    const known = this.#valid.get(key)
    if (known?.list === list && known && known.at <= now && now < known.certificate.notAfter) return known.certificate
    this.#valid.delete(key)
    const certificate = verifyCertificate(text, keyOf(pool), now, removalsOf(list))
    putLast(this.#valid, key, { certificate, list, at: now }, mostValid)
    return certificate
  }

  /** A device asks for a newer certificate in place of this one. @throws MeshError as `verifyForRenewal`, `notFound` */
  renewable(text: string, deviceId: string): Certificate {
    const pool = this.#need(poolIdIn(text))
    const certificate = verifyForRenewal(text, keyOf(pool), this.#options.now(), removalsOf(this.revocations(pool)))
    checkOwner(certificate, deviceId)
    return certificate
  }

  /** The newest list of a pool. */
  revocations(pool: StoredPool): RevocationList | undefined {
    const known = this.#lists.get(pool.poolId)
    if (known) return known
    const text = this.#options.revocations.find(pool.poolId)
    if (text === undefined) return undefined
    const list = readRevocations(text, keyOf(pool), this.#options.now())
    this.#lists.set(pool.poolId, list)
    return list
  }

  /** @returns false for a list that does not replace the one that is held; @throws MeshError `revocationsInvalid` */
  accept(pool: StoredPool, text: string): boolean {
    const list = readRevocations(text, keyOf(pool), this.#options.now())
    if (!replaces(list, this.revocations(pool))) return false
    this.#options.revocations.save(pool.poolId, text)
    this.#lists.set(pool.poolId, list)
    return true
  }

  #need(poolId: string | undefined): StoredPool {
    const pool = poolId === undefined ? undefined : this.#options.pools.find(poolId)
    if (!pool) throw new MeshError('notFound', { what: 'pool', id: poolId ?? 'of that certificate' })
    return pool
  }
}
