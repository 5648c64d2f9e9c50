/** Certificates that devices show: checked, remembered, and told to who needs to know. */
import { MeshError } from '../../shared/errors.ts'
import {
  type Certificate,
  checkOwner,
  poolIdIn,
  verifyCertificate,
  verifyForRenewal,
} from '../../shared/identity/pool-certificate.ts'
import { removalsOf, type RevocationList } from '../../shared/identity/revocation-list.ts'
import { putLast } from '../../shared/put-last.ts'
import type { PoolStore, StoredPool } from '../store/pool-store.ts'
import type { Background } from './background.ts'
import type { Pins } from './pins.ts'
import type { Presence } from './presence.ts'
import type { Revocations } from './revocations.ts'

export interface MembershipsOptions {
  readonly poolStore: PoolStore
  readonly revocations: Revocations
  readonly pins: Pick<Pins, 'checkServed'>
  readonly presence: Presence
  readonly background: Background
  readonly now: () => number
}

const keyOf = ({ rootPublicKey }: StoredPool): Uint8Array => Buffer.from(rootPublicKey, 'hex')

/** Certificates that are remembered: 4 kB each at most. */
const mostValid = 2000

export class Memberships {
  readonly #options: MembershipsOptions
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
   * @throws MeshError `notFound` (no such pool here) | `poolMoved` | `certificateInvalid` | `certificateExpired` |
   * `memberRemoved`
   */
  show(text: string, deviceId: string, poolId: string | undefined = poolIdIn(text)): Certificate {
    const { poolStore, pins, presence, background } = this.#options
    if (poolId === undefined) throw new MeshError('certificateInvalid', { problem: 'it names no pool' })
    const pool = this.#need(poolId)
    const certificate = this.verify(pool, text)
    checkOwner(certificate, deviceId)
    // after the certificate: where a pool went is for its members
    pins.checkServed(pool)
    const known = poolStore.membership(pool.poolId, deviceId)
    // a full disk keeps no member out: it shows the certificate again with its next request
    if (!known || known.notAfter < certificate.notAfter)
      background.run('storing a certificate', () => poolStore.publish(text, certificate))
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
    const list = this.#options.revocations.of(pool)
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
    const { revocations, now } = this.#options
    const certificate = verifyForRenewal(text, keyOf(pool), now(), removalsOf(revocations.of(pool)))
    checkOwner(certificate, deviceId)
    return certificate
  }

  #need(poolId: string | undefined): StoredPool {
    const pool = poolId === undefined ? undefined : this.#options.poolStore.find(poolId)
    if (!pool) throw new MeshError('notFound', { what: 'pool', id: poolId ?? 'of that certificate' })
    return pool
  }
}
